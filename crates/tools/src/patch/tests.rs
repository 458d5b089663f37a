//! Patches against files in memory, and against every recorded case when the data is at hand.
