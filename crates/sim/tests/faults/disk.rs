//! A disk that is full, read-only or gone (faults 27, 32, 35).
#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "a test that mounts a file system, or says that it may not")]

use std::path::Path;
use std::process::Command;

use brigade_sim::lab::Lab;

use crate::bench::{code, lab, many, resume, run, sound};

/// A file system of its own size, gone when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// `None` where we may not mount one.
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        if done.is_ok_and(|o| o.status.success()) {
            return Some(Self(at));
        }
        eprintln!("skipped: mounting a small file system needs a right we do not have");
        None
    }

    fn grow(&self, size: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0).output().expect("mount");
        assert!(done.status.success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

/// Fills all but `left` bytes.
fn fill(dir: &Path, left: u64) {
    let stat = rustix::fs::statvfs(dir).expect("a file system");
    let free = stat.f_bavail * stat.f_frsize;
    std::fs::write(dir.join("ballast"), vec![0_u8; free.saturating_sub(left) as usize]).expect("room for ballast");
}

#[test]
fn a_full_disk_stops_the_run_with_a_readable_error_and_space_lets_it_go_on() {
    for left in [0, 60_000, 200_000] {
        let lab: Lab = lab("[server]\ndelay_ms = 5\n");
        let home = lab.home();
        let Some(small) = Small::mount(&home, "16m") else { return };
        // The journal is made while there is room.
        code(&lab.run(&["resume", "--last"]).expect("an engine that ends"), 2);
        fill(&home, left);
        let stopped = run(&lab, &many(400));
        assert!(matches!(stopped.code, Some(1)), "{left} bytes left: {:?} {}", stopped.signal, stopped.err);
        assert!(stopped.err.to_lowercase().contains("no space left"), "{left} bytes left: {}", stopped.err);
        std::fs::remove_file(home.join("ballast")).expect("the ballast");
        small.grow("64m");
        if brigade_sim::audit::runs(&home).expect("a journal").is_empty() {
            assert!(lab.calls().is_empty(), "something was sent that is not on record");
        } else {
            code(&resume(&lab, &[]), 0);
            sound(&lab);
        }
    }
}

#[test]
fn a_home_that_cannot_be_written_is_refused_at_the_start() {
    let mut lab = lab("");
    let file = lab.write("a-file", "").expect("a file");
    lab.env.insert("BRIGADE_HOME".to_owned(), file.display().to_string());
    let ended = run(&lab, &many(1));
    code(&ended, 2);
    assert!(ended.err.contains("a-file") && ended.err.contains("BRIGADE_HOME"), "{}", ended.err);
    assert!(lab.calls().is_empty());
}
