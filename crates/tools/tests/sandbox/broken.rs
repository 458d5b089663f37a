//! Each primitive broken in turn, by a filter around the engine: then nothing runs, and the error
//! names what is missing.

use std::collections::BTreeMap;

use brigade_tools::sandbox::{Primitive, SandboxError, State};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};

use crate::world::{World, runtime};

pub const ALL: &[(&str, fn())] = &[("with_any_layer_broken_nothing_runs_and_the_layer_is_named", each_broken)];

const BREAKS: [(&str, Primitive); 10] = [
    ("user", Primitive::UserNamespace),
    ("mount", Primitive::MountNamespace),
    ("pid", Primitive::PidNamespace),
    ("net", Primitive::NetworkNamespace),
    ("ipc", Primitive::IpcNamespace),
    ("uts", Primitive::UtsNamespace),
    ("tree", Primitive::PrivateRoot),
    ("capset", Primitive::Capabilities),
    ("landlock", Primitive::Landlock),
    ("seccomp", Primitive::Seccomp),
];

fn each_broken() {
    for (what, _) in BREAKS {
        let output = std::process::Command::new(std::env::current_exe().unwrap()).args(["__broken", what]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {text}");
        print!("{text}");
    }
}

/// An engine on a machine that lacks `what`.
pub fn engine(what: &str) {
    let (_, primitive) = BREAKS.into_iter().find(|(name, _)| *name == what).unwrap();
    let world = World::new();
    shut(what);
    let spec = world.spec(["touch", "ran"]);
    let error = world.try_run(spec).unwrap_err();
    println!("{error}");
    assert!(matches!(&error, SandboxError::Unavailable { primitive: named, .. } if *named == primitive), "{error}");
    assert!(!world.view.join("ran").exists());
    assert!(!world.view.join(".git").exists());
    let probe = runtime().block_on(world.sandbox.probe()).unwrap();
    assert!(!probe.usable());
    let found = probe.primitives.iter().find(|(_, state)| matches!(state, State::Missing { .. }));
    assert_eq!(found.map(|(named, _)| *named), Some(primitive));
}

fn shut(what: &str) {
    let any = |call: i64| (call, vec![]);
    let flag = |bit: i32| {
        let bit = u64::from(bit.cast_unsigned());
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bit), bit).unwrap();
        (libc::SYS_unshare, vec![SeccompRule::new(vec![condition]).unwrap()])
    };
    let (rule, errno) = match what {
        "user" => (flag(libc::CLONE_NEWUSER), libc::EPERM),
        "mount" => (flag(libc::CLONE_NEWNS), libc::EPERM),
        "pid" => (flag(libc::CLONE_NEWPID), libc::EINVAL),
        "net" => (flag(libc::CLONE_NEWNET), libc::EINVAL),
        "ipc" => (flag(libc::CLONE_NEWIPC), libc::EINVAL),
        "uts" => (flag(libc::CLONE_NEWUTS), libc::EINVAL),
        "tree" => (any(libc::SYS_mount_setattr), libc::ENOSYS),
        "capset" => (any(libc::SYS_capset), libc::EPERM),
        "landlock" => (any(libc::SYS_landlock_create_ruleset), libc::EOPNOTSUPP),
        "seccomp" => (any(libc::SYS_seccomp), libc::EINVAL),
        other => panic!("{other}"),
    };
    let rules: BTreeMap<i64, Vec<SeccompRule>> = [rule].into();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.cast_unsigned()), arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}
