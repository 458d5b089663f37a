//! Real processes on one real journal: kills, conflicts, a full disk, a failing fsync.
//!
//! Children are this test binary again, told by `JOURNAL_CHILD` what to be.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::disallowed_methods, reason = "the children are tests, not tools of a run")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use brigade_journal::{AppendError, Batch, Blob, Journal, LockError, OpenError, Record, RunLock, Sqlite, Stream};

fn stream(name: &str) -> Stream {
    Stream::new(name).unwrap()
}

fn command(role: &str, home: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("JOURNAL_CHILD", role).env("JOURNAL_HOME", home).stdout(Stdio::piped());
    command
}

/// Lines a child says, without the test harness's own.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|line| {
        let at = line.find("say ")?;
        Some(line[at + 4..].to_owned())
    })
}

fn say(what: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {what}").unwrap();
    out.flush().unwrap();
}

#[test]
fn child() {
    let Ok(role) = std::env::var("JOURNAL_CHILD") else {
        return;
    };
    let home = PathBuf::from(std::env::var_os("JOURNAL_HOME").unwrap());
    match role.as_str() {
        "append" => append_for_ever(&home),
        "contend" => contend(&home),
        "failing fsync" => failing_fsync(&home),
        "small disk" => small_disk(&home),
        "few descriptors" => few_descriptors(&home),
        "lock" => {
            let _lock = RunLock::lock(&home, "r1").unwrap();
            say("locked");
            std::thread::park();
        }
        other => panic!("unknown role {other}"),
    }
}

/// Three streams grow side by side, several batches in flight; says what has been acknowledged.
fn append_for_ever(home: &Path) {
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    let names = ["run/a", "run/b", "run/c"].map(stream);
    let mut versions = names.each_ref().map(|name| journal.version(name).unwrap());
    let mut tickets = std::collections::VecDeque::new();
    for n in 0_usize.. {
        let (at, count) = (n % 3, 1 + n % 4);
        let from = versions[at] + 1;
        let records = (from..from + count as u64).map(|seq| text(&names[at], seq).into()).collect();
        let batch = Batch::new().expect(&names[at], versions[at]).records(&names[at], records);
        let blob = Blob::new(text(&names[at], from).repeat(100));
        tickets.push_back((at, journal.append(batch.blob(&names[at], blob))));
        versions[at] += count as u64;
        if tickets.len() > 8 {
            let (at, ticket) = tickets.pop_front().unwrap();
            let version = ticket.wait().unwrap().version(&names[at]).unwrap();
            say(format_args!("{} {version}", names[at]));
        }
    }
}

fn text(stream: &Stream, seq: u64) -> Vec<u8> {
    format!("{stream} {seq}").into_bytes()
}

/// Kills a child after `lines` acknowledgements (or lets it kill itself) and checks what it left.
fn killed(home: &Path, acknowledged: &mut BTreeMap<String, u64>, after: usize, kill: Option<&str>) {
    let mut command = command("append", home);
    if let Some(kill) = kill {
        command.env("BRIGADE_KILL", kill);
    }
    let mut child = command.spawn().unwrap();
    for (n, line) in lines(&mut child).enumerate() {
        let (name, version) = line.split_once(' ').unwrap();
        acknowledged.insert(name.to_owned(), version.parse().unwrap());
        if n == after {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    assert_eq!(journal.verify().unwrap(), []);
    for (name, acknowledged) in acknowledged {
        let name = stream(name);
        let version = journal.version(&name).unwrap();
        assert!(version >= *acknowledged, "{name}: {version} of {acknowledged} acknowledged");
        let mut from = 1;
        while from <= version {
            for stored in journal.read(&name, from, 500).unwrap() {
                assert_eq!(stored.bytes, text(&name, stored.seq));
                from = stored.seq + 1;
            }
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let rounds = std::env::var("BRIGADE_KILL_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        killed(home.path(), &mut acknowledged, round * 37 % 200, None);
    }
    assert_eq!(acknowledged.len(), 3);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_kill_at_each_failpoint_loses_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for name in brigade_journal::failpoint::NAMES {
        let far: &[u32] = if name.contains("checkpoint") { &[1] } else { &[1, 2, 23] };
        for nth in far {
            killed(home.path(), &mut acknowledged, usize::MAX, Some(&format!("{name}:{nth}")));
        }
    }
}

/// Appends 100 records to one stream, each expecting to be next.
fn contend(home: &Path) {
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    let day = stream("day/2026-11-21");
    let mut conflicts = 0;
    for n in 0..100 {
        loop {
            let version = journal.version(&day).unwrap();
            let record = Record::from(format!("{} {n}", std::process::id()).into_bytes());
            match journal.append(Batch::new().expect(&day, version).record(&day, record)).wait() {
                Ok(_) => break,
                Err(AppendError::Conflict { expected, found, .. }) => {
                    assert!(found > expected);
                    conflicts += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    say(conflicts);
}

#[test]
fn processes_that_append_to_one_stream_conflict_and_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    // The journal does not exist yet: making it is contended too.
    let mut children: Vec<_> = (0..3).map(|_| command("contend", home.path()).spawn().unwrap()).collect();
    let conflicts: u32 = children.iter_mut().flat_map(lines).map(|line| line.parse::<u32>().unwrap()).sum();
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let journal = Sqlite::open(&home.path().join("journal.db")).unwrap();
    let all = journal.read(&stream("day/2026-11-21"), 1, 1000).unwrap();
    assert_eq!(all.len(), 300);
    for pid in pids {
        let own = all.iter().map(|s| String::from_utf8(s.bytes.clone()).unwrap());
        let own: Vec<_> = own.filter(|text| text.starts_with(&format!("{pid} "))).collect();
        assert_eq!(own, (0..100).map(|n| format!("{pid} {n}")).collect::<Vec<_>>());
    }
    println!("{conflicts} conflicts");
}

#[test]
fn a_watch_sees_another_process() {
    let home = tempfile::tempdir().unwrap();
    let journal = Sqlite::open(&home.path().join("journal.db")).unwrap();
    let mut watch = brigade_journal::Watch::new(stream("day/2026-11-21"), 0);
    assert_eq!(watch.poll(&journal).unwrap(), None);
    assert!(command("contend", home.path()).status().unwrap().success());
    assert_eq!(watch.poll(&journal).unwrap(), Some(100));
    // Our own writer notices too that its memory of the stream is old.
    let day = stream("day/2026-11-21");
    let next = Batch::new().expect(&day, 100).record(&day, b"next".to_vec());
    assert_eq!(journal.append(next).wait().unwrap().version(&day), Some(101));
}

#[cfg(target_os = "linux")]
fn failing_fsync(home: &Path) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    let run = stream("run/a");
    journal.append(Batch::new().record(&run, text(&run, 1))).wait().unwrap();
    // 74 and 75 are fsync and fdatasync on x86-64, 82 and 83 on aarch64; 5 is EIO.
    let (arch, calls) = match std::env::consts::ARCH {
        "x86_64" => (TargetArch::x86_64, [74, 75]),
        "aarch64" => (TargetArch::aarch64, [82, 83]),
        other => return say(format_args!("skipped on {other}")),
    };
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(5), arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();
    let tickets: Vec<_> = (2..5).map(|seq| journal.append(Batch::new().record(&run, text(&run, seq)))).collect();
    for ticket in tickets {
        assert!(matches!(ticket.wait(), Err(AppendError::Poisoned { .. })));
    }
    let later = journal.append(Batch::new().record(&run, text(&run, 9))).wait().unwrap_err();
    assert!(matches!(&later, AppendError::Poisoned { .. }), "{later}");
    assert_eq!(journal.read(&run, 1, 1).unwrap().len(), 1);
    say(later);
}

#[cfg(not(target_os = "linux"))]
fn failing_fsync(_home: &Path) {
    say("skipped");
}

#[test]
fn a_failed_fsync_ends_all_appends_until_the_journal_is_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let mut child = command("failing fsync", home.path()).spawn().unwrap();
    let said: Vec<_> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success());
    println!("{said:?}");
    if said[0].starts_with("skipped") {
        return;
    }
    let journal = Sqlite::open(&home.path().join("journal.db")).unwrap();
    assert_eq!(journal.verify().unwrap(), []);
    let run = stream("run/a");
    let version = journal.version(&run).unwrap();
    assert!((1..=4).contains(&version));
    journal.append(Batch::new().expect(&run, version).record(&run, b"on".to_vec())).wait().unwrap();
}

/// Runs on a file system of 1 MiB: fills it, is refused, goes on when space has returned.
fn small_disk(home: &Path) {
    let filler = home.join("filler");
    fs::write(&filler, vec![1; 300 << 10]).unwrap();
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    let run = stream("run/a");
    let (mut version, mut refused) = (0, 0);
    while refused < 3 {
        let records = (version + 1..version + 21).map(|seq| text(&run, seq).repeat(50).into()).collect();
        match journal.append(Batch::new().expect(&run, version).records(&run, records)).wait() {
            Ok(_) => version += 20,
            Err(AppendError::Full { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        assert_eq!(journal.version(&run).unwrap(), version, "nothing half written");
    }
    assert!(version > 0);
    fs::remove_file(&filler).unwrap();
    journal.append(Batch::new().expect(&run, version).record(&run, b"again".to_vec())).wait().unwrap();
    drop(journal);
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    assert_eq!(journal.verify().unwrap(), []);
    assert_eq!(journal.version(&run).unwrap(), version + 1);
    say(format_args!("full after {version}"));
}

#[test]
fn a_full_disk_refuses_and_space_that_returns_is_used() {
    let home = tempfile::tempdir().unwrap();
    let inner = command("small disk", home.path());
    let mut outer = Command::new("unshare");
    outer.args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=1m none \"$JOURNAL_HOME\" || exit 77; exec \"$@\"", "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args()).stdout(Stdio::piped());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(mut child) = outer.spawn() else {
        return println!("skipped: no unshare(1) here");
    };
    let said: Vec<_> = lines(&mut child).collect();
    let status = child.wait().unwrap();
    println!("{said:?} {status}");
    if matches!(status.code(), Some(1 | 77)) && said.is_empty() {
        return println!("skipped: no mount namespace here");
    }
    assert!(status.success());
}

fn few_descriptors(home: &Path) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let journal = Sqlite::open(&home.join("journal.db")).unwrap();
    let run = stream("run/a");
    journal.append(Batch::new().record(&run, text(&run, 1))).wait().unwrap();
    let mut held = Vec::new();
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) }).unwrap();
    while let Ok(file) = fs::File::open("/dev/null") {
        held.push(file);
    }
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(journal.read(&run, 1, 1).unwrap().len(), 1);
                    journal.append(Batch::new().record(&run, b"x".to_vec())).wait().unwrap();
                }
            });
        }
    });
    say(journal.version(&run).unwrap());
}

#[test]
fn without_descriptors_readers_share_what_is_open() {
    let home = tempfile::tempdir().unwrap();
    let mut child = command("few descriptors", home.path()).spawn().unwrap();
    let said: Vec<_> = lines(&mut child).collect();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, ["601"]);
}

#[test]
fn a_lock_names_its_holder_and_dies_with_it() {
    let home = tempfile::tempdir().unwrap();
    let mut child = command("lock", home.path()).spawn().unwrap();
    assert_eq!(lines(&mut child).next().unwrap(), "locked");
    let refused = RunLock::lock(home.path(), "r1").unwrap_err();
    assert!(matches!(&refused, LockError::Held { pid, .. } if *pid == child.id()), "{refused}");
    RunLock::lock(home.path(), "r2").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let lock = RunLock::lock(home.path(), "r1").unwrap();
    let twice = RunLock::lock(home.path(), "r1").unwrap_err();
    assert!(matches!(twice, LockError::Held { pid, .. } if pid == std::process::id()));
    drop(lock);
    RunLock::lock(home.path(), "r1").unwrap().discard().unwrap();
    assert!(!home.path().join("r1.lock").exists());
    assert!(matches!(RunLock::lock(home.path(), "../r1"), Err(LockError::BadName { .. })));
}

#[test]
fn a_read_only_home_is_refused_at_open() {
    let home = tempfile::tempdir().unwrap();
    let mut outer = Command::new("unshare");
    let script = "mount -t tmpfs none \"$JOURNAL_HOME\" && mount -o remount,ro \"$JOURNAL_HOME\" || exit 77; exec \"$@\"";
    outer.args(["-Urm", "sh", "-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    outer.args(["--exact", "read_only_child", "--nocapture"]);
    outer.env("JOURNAL_HOME", home.path()).env("JOURNAL_READ_ONLY", "1");
    match outer.status() {
        Ok(status) if !matches!(status.code(), Some(1 | 77)) => assert!(status.success()),
        _ => println!("skipped: no mount namespace here"),
    }
}

#[test]
fn read_only_child() {
    if std::env::var_os("JOURNAL_READ_ONLY").is_none() {
        return;
    }
    let home = PathBuf::from(std::env::var_os("JOURNAL_HOME").unwrap());
    for path in [home.join("journal.db"), home.join("deeper/journal.db")] {
        let refused = Sqlite::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused}");
    }
}
