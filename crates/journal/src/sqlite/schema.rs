//! Tables, versions, and what a connection must be before it is used.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{OpenError, file};

/// `brig`: tells `file(1)` and us whose database it is.
pub(super) const APPLICATION_ID: i64 = 0x6272_6967;

/// Steps from schema version i + 1 to i + 2, oldest first. Version 1 is [`TABLES`].
pub(super) const STEPS: &[&str] = &[];

/// Bytes per page, by measurement (docs/journal-format.md).
const PAGE_SIZE: i64 = 4096;

/// Oldest SQLite without the WAL-reset fault (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// A record's id is its stream's id, shifted by 32, plus its seq, so that one integer key keeps
/// streams together and records in order.
const TABLES: &str = "
    CREATE TABLE home (
        one INTEGER PRIMARY KEY CHECK (one = 1), next_id INTEGER NOT NULL,
        streams INTEGER NOT NULL, digest INTEGER NOT NULL) STRICT;
    INSERT INTO home VALUES (1, 1, 0, 0);
    CREATE TABLE streams (
        name TEXT PRIMARY KEY, id INTEGER NOT NULL, version INTEGER NOT NULL, head INTEGER NOT NULL,
        keys INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE records (id INTEGER PRIMARY KEY, key INTEGER, sum INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE keys (
        stream INTEGER NOT NULL, key INTEGER NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (stream, key, seq)) STRICT, WITHOUT ROWID;
    CREATE TABLE blobs (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE blob_refs (
        stream INTEGER NOT NULL, blob INTEGER NOT NULL, PRIMARY KEY (stream, blob)) STRICT, WITHOUT ROWID;
    CREATE INDEX blob_holders ON blob_refs (blob, stream);
";

/// A connection that never creates a file.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(60))?;
    // Memory-mapped reads would turn a failing disk into a signal; temporary files would need space.
    conn.execute_batch("PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;")?;
    // After a failed fsync nothing may be copied out of the log: checkpoints are made by hand.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Plans do not look at bound values: a statement is never made anew because a parameter changed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(path)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2000;")?;
    Ok(conn)
}

/// Opens the one connection that writes, after making or migrating the tables.
pub(super) fn connect_writer(path: &Path, steps: &[&str]) -> Result<Connection, OpenError> {
    let found = rusqlite::version_number();
    if found < OLDEST_SQLITE {
        return Err(OpenError::OldSqlite { found: rusqlite::version().to_owned() });
    }
    let mut conn = connect(path).map_err(|e| OpenError::from_sqlite(path, e))?;
    establish(&mut conn, path, steps)?;
    (|| {
        conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -4000;")?;
        conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
    })()
    .map_err(|e| OpenError::from_sqlite(path, e))
    .and_then(|mode| match mode {
        2 => Ok(conn),
        _ => Err(OpenError::NotDurable { path: path.into() }),
    })
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}

/// The version a binary with these steps writes.
pub(super) fn supported(steps: &[&str]) -> i64 {
    1 + steps.len() as i64
}

/// The file's schema version; 0 for an empty file.
fn version(conn: &Connection, path: &Path) -> Result<i64, OpenError> {
    let (id, version, tables) = (|| {
        let tables = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
        Ok((number(conn, "application_id")?, number(conn, "user_version")?, tables))
    })()
    .map_err(|e| OpenError::from_sqlite(path, e))?;
    match (id, tables) {
        (0, 0) => Ok(0),
        (APPLICATION_ID, 1..) if version > 0 => Ok(version),
        (APPLICATION_ID, _) => Err(OpenError::Damaged { path: path.into(), reason: format!("schema {version}, {tables} tables") }),
        _ => Err(OpenError::NotAJournal { path: path.into() }),
    }
}

/// Makes the tables, migrates older ones, refuses newer ones.
fn establish(conn: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), OpenError> {
    let supported = supported(steps);
    let found = version(conn, path)?;
    if found > supported {
        return Err(OpenError::Newer { path: path.into(), found, supported });
    }
    if found == 0 {
        conn.pragma_update(None, "page_size", PAGE_SIZE).map_err(|e| OpenError::from_sqlite(path, e))?;
    } else if found < supported {
        back_up(conn, path, found)?;
    }
    write_ahead(conn).map_err(|e| OpenError::from_sqlite(path, e))?;
    if found == supported {
        return Ok(());
    }
    let sql = |e| OpenError::from_sqlite(path, e);
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&transaction, path)?;
    if found > supported {
        return Err(OpenError::Newer { path: path.into(), found, supported });
    }
    if found == 0 {
        transaction.execute_batch(TABLES).map_err(sql)?;
    }
    for step in &steps[usize::try_from((found - 1).max(0)).unwrap_or(0).min(steps.len())..] {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    transaction.pragma_update(None, "user_version", supported).map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// Switches to write-ahead logging. SQLite does not wait here when another process does the same.
fn write_ahead(conn: &Connection) -> rusqlite::Result<()> {
    let started = Instant::now();
    loop {
        let mode = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Err(e) if e.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => return Err(e),
            busy if started.elapsed() > Duration::from_secs(60) => {
                busy?;
                return Err(rusqlite::Error::InvalidQuery);
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Keeps a copy of the file as it was, `journal.db.v1.backup`, before the first step.
fn back_up(conn: &Connection, path: &Path, found: i64) -> Result<(), OpenError> {
    let kept = file::beside(path, &format!(".v{found}.backup"));
    if kept.exists() {
        return Ok(());
    }
    let unfinished = file::beside(path, &format!(".v{found}.backup-{}", std::process::id()));
    let unreachable = |source| OpenError::Unreachable { path: kept.clone(), source };
    let _ = std::fs::remove_file(&unfinished);
    conn.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()]).map_err(|e| OpenError::from_sqlite(path, e))?;
    let copy = std::fs::File::open(&unfinished).map_err(unreachable)?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    copy.set_permissions(private).and_then(|()| copy.sync_all()).map_err(unreachable)?;
    std::fs::rename(&unfinished, &kept).map_err(unreachable)
}
