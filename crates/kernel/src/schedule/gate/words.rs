//! A gate as a row of words, for the file that processes share, and back. Takes nothing that it could not have written.

use super::Gate;
use super::pace::Pace;
use super::share::{Class, MOST_MEMBERS, Member};
use super::strain::{BATCH, MODELS, Strain};
use crate::time::Timestamp;

/// First word: a file of another build's layout starts differently.
const LAYOUT: u64 = 0x6272_6967_6174_0001;

/// Reads words one by one.
struct Reader<'a>(std::slice::Iter<'a, u64>);

impl Reader<'_> {
    fn word(&mut self) -> Option<u64> {
        self.0.next().copied()
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.word()?).ok()
    }

    fn maybe(&mut self) -> Option<Option<u64>> {
        let (is, word) = (self.word()?, self.word()?);
        match is {
            0 => Some(None),
            1 => Some(Some(word)),
            _ => None,
        }
    }

    fn count(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.word()?).ok().filter(|n| *n <= most)
    }

    fn pace(&mut self) -> Option<Pace> {
        let (full, holds) = (self.word()?, self.word()?);
        let (rate, level) = (self.word()? as i64, self.word()? as i64);
        let (learned, at) = (self.word()? as i64, Timestamp(self.word()?));
        Some(Pace {
            full,
            holds,
            rate,
            level,
            learned,
            at,
            gone: self.word()?,
            heard: self.word()?,
            settled: self.word()?,
            out: self.word()?,
        })
    }

    fn strain(&mut self) -> Option<Strain> {
        let (ended, work_ms, since, slow) = (self.word()?, self.word()?, Timestamp(self.word()?), self.small()?);
        let (after, before) = (Timestamp(self.word()?), (self.small()?, self.small()?));
        let models = self.count(MODELS)?;
        let usual = (0..models).map(|_| Some((self.word()?, self.word()?))).collect::<Option<_>>()?;
        let batch = self.count(BATCH - 1)?;
        let ratios = (0..batch).map(|_| self.small()).collect::<Option<_>>()?;
        Some(Strain { usual, ratios, ended, work_ms, since, slow, after, before })
    }

    fn member(&mut self) -> Option<Member> {
        let (id, process) = (self.word()?, (self.small()?, self.word()?));
        let class = match self.word()? {
            0 => Class::Interactive,
            1 => Class::Bulk,
            _ => return None,
        };
        let (in_flight, turns) = (self.small()?, self.word()?);
        Some(Member { id, process, class, in_flight, turns, waits_until: Timestamp(self.word()?), needs: self.word()? })
    }
}

fn maybe(words: &mut Vec<u64>, value: Option<u64>) {
    words.extend([u64::from(value.is_some()), value.unwrap_or(0)]);
}

impl Gate {
    /// The gate as words.
    pub fn to_words(&self) -> Vec<u64> {
        let mut words = Vec::with_capacity(64 + self.members.len() * 8);
        words.push(LAYOUT);
        maybe(&mut words, self.limit.map(u64::from));
        words.extend([u64::from(self.goal), u64::from(self.grown), self.full_at.0, self.cut_at.0]);
        maybe(&mut words, self.closed_until.map(|until| until.0));
        maybe(&mut words, self.probe);
        words.push(u64::from(self.refusals));
        for pace in [&self.requests, &self.tokens] {
            words.extend([
                pace.full,
                pace.holds,
                pace.rate as u64,
                pace.level as u64,
                pace.learned as u64,
                pace.at.0,
                pace.gone,
                pace.heard,
                pace.settled,
                pace.out,
            ]);
        }
        words.extend([self.usual, self.used_at.0]);
        let strain = &self.strain;
        words.extend([strain.ended, strain.work_ms, strain.since.0, u64::from(strain.slow)]);
        words.extend([strain.after.0, u64::from(strain.before.0), u64::from(strain.before.1)]);
        words.push(strain.usual.len() as u64);
        words.extend(strain.usual.iter().flat_map(|(model, ms)| [*model, *ms]));
        words.push(strain.ratios.len() as u64);
        words.extend(strain.ratios.iter().map(|ratio| u64::from(*ratio)));
        words.push(self.members.len() as u64);
        for m in &self.members {
            let class = u64::from(m.class == Class::Bulk);
            words.extend([m.id, u64::from(m.process.0), m.process.1, class, u64::from(m.in_flight), m.turns, m.waits_until.0, m.needs]);
        }
        words
    }

    /// The gate that was written so; `None` for anything else.
    pub fn from_words(words: &[u64]) -> Option<Self> {
        let mut reader = Reader(words.iter());
        (reader.word()? == LAYOUT).then_some(())?;
        let limit = match reader.maybe()? {
            Some(limit) => Some(u32::try_from(limit).ok()?),
            None => None,
        };
        let (goal, grown) = (reader.small()?, reader.small()?);
        let (full_at, cut_at) = (Timestamp(reader.word()?), Timestamp(reader.word()?));
        let closed_until = reader.maybe()?.map(Timestamp);
        let (probe, refusals) = (reader.maybe()?, reader.small()?);
        let (requests, tokens) = (reader.pace()?, reader.pace()?);
        let (usual, used_at) = (reader.word()?, Timestamp(reader.word()?));
        let strain = reader.strain()?;
        let members = reader.count(MOST_MEMBERS)?;
        let members: Vec<Member> = (0..members).map(|_| reader.member()).collect::<Option<_>>()?;
        let whole = reader.word().is_none();
        whole.then_some(Self {
            members,
            limit,
            goal,
            grown,
            full_at,
            cut_at,
            closed_until,
            probe,
            refusals,
            requests,
            tokens,
            usual,
            strain,
            used_at,
        })
    }
}
