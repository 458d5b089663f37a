//! What holds after the root stands: limits, no capabilities, Landlock, seccomp, in this order.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, sock_filter};

use super::super::wire::{Caps, Order, Primitive, SCRATCH, VIEW};
use super::{OrRefuse, Refusal};

/// Limits that every process of the sandbox inherits.
pub(super) fn limits(caps: &Caps) -> Result<(), Refusal> {
    let set = |resource, name: &'static str, wanted: u64| {
        let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX).min(wanted);
        setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) }).or_refuse(Primitive::Limits, || name.to_owned())
    };
    set(Resource::Core, "RLIMIT_CORE", 0)?;
    set(Resource::Fsize, "RLIMIT_FSIZE", caps.file_size)?;
    set(Resource::Nofile, "RLIMIT_NOFILE", caps.open_files)?;
    // Counted per user *and* user namespace, so other sandboxes and the user's own programs do not add up.
    set(Resource::Nproc, "RLIMIT_NPROC", caps.processes)?;
    set(Resource::Memlock, "RLIMIT_MEMLOCK", 8 << 20)?;
    set(Resource::Msgqueue, "RLIMIT_MSGQUEUE", 0)
}

pub(super) fn drop_capabilities() -> Result<(), Refusal> {
    let refuse = || "drop capabilities".to_owned();
    let none = CapabilitySet::empty();
    for bit in 0..=63_u32 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // One past the kernel's last capability.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).or_refuse(Primitive::Capabilities, refuse),
        }
    }
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    rustix::thread::set_capabilities_secure_bits(locked).or_refuse(Primitive::Capabilities, refuse)?;
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .or_refuse(Primitive::Capabilities, refuse)?;
    rustix::thread::set_no_new_privs(true).or_refuse(Primitive::Capabilities, refuse)
}

/// Says how much of it this kernel enforces; none at all is a refusal.
pub(super) fn landlock(order: &Order) -> Result<String, Refusal> {
    let status = restrict(order).map_err(|error| Refusal { primitive: Primitive::Landlock, errno: 0, at: error.to_string() })?;
    match status {
        RulesetStatus::FullyEnforced => Ok("full".to_owned()),
        // What an older kernel lacks here (truncate, TCP, signals) the namespaces deny as well.
        RulesetStatus::PartiallyEnforced => Ok("partial".to_owned()),
        RulesetStatus::NotEnforced => Err(Refusal { primitive: Primitive::Landlock, errno: libc::EOPNOTSUPP, at: "restrict".to_owned() }),
    }
}

fn restrict(order: &Order) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let abi = ABI::V7;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let change = AccessFs::from_all(abi) & !devices;
    let device = AccessFs::from_file(abi) & !AccessFs::Execute;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::Signal)?
        .scope(Scope::AbstractUnixSocket)?;
    if !(order.loopback || order.network) {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    let mut rules = rules.create()?.add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::from_read(abi)))?;
    let mut open = vec!["/tmp", "/dev/shm"];
    if order.writable {
        open.push(VIEW);
    }
    if order.scratch.is_some() {
        open.push(SCRATCH);
    }
    for place in open {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(place)?, change))?;
    }
    for name in ["null", "zero", "full", "random", "urandom"] {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(Path::new("/dev").join(name))?, device))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

pub(super) fn seccomp(order: &Order) -> Result<(), Refusal> {
    let apply = |program: BpfProgram| {
        seccompiler::apply_filter(&program).map_err(io::Error::other).or_refuse(Primitive::Seccomp, || "apply".to_owned())
    };
    let absent = absent().map_err(io::Error::other).or_refuse(Primitive::Seccomp, || "build".to_owned())?;
    let denied = denied(order).map_err(io::Error::other).or_refuse(Primitive::Seccomp, || "build".to_owned())?;
    apply(unknown())?;
    apply(absent)?;
    apply(denied)
}

/// Calls newer than this filter, and the x32 twins of old ones, do not exist: nobody has judged them.
fn unknown() -> BpfProgram {
    // 466 is removexattrat (Linux 6.13), the last call that was looked at.
    const LAST: u32 = 466;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(0x20, 0, 0, 0),
        step(0x25, 0, 1, LAST),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Fault = seccompiler::BackendError;

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, Fault> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno.cast_unsigned()), arch)?.try_into()
}

/// Calls whose arguments lie in memory, where no filter can look; programs fall back on ENOSYS.
fn absent() -> Result<BpfProgram, Fault> {
    let calls = [libc::SYS_clone3, libc::SYS_openat2, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    compile(calls.into_iter().map(|call| (call, Vec::new())).collect(), libc::ENOSYS)
}

/// Never needed by a build or a test; each has been a way out of somebody's sandbox.
const DENIED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

fn denied(order: &Order) -> Result<BpfProgram, Fault> {
    let when = |arg, op, value: u64| SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, value);
    let has = |arg, bits: u64| when(arg, SeccompCmpOp::MaskedEq(bits), bits);
    let not = |value: i32| when(0, SeccompCmpOp::Ne, u64::from(value.cast_unsigned()));
    let inet = order.loopback || order.network;
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    if !(order.local_sockets || inet) {
        // A socket file in the view may belong to a program outside: a read-only mount does not stop a connect.
        rules.insert(libc::SYS_connect, Vec::new());
    }
    let mut add = |call: i64, conditions: Vec<SeccompCondition>| -> Result<(), Fault> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    };

    // UNIX sockets only; the network namespace is empty anyway, but netlink and vsock ignore it.
    let mut families = vec![not(libc::AF_UNIX)?];
    if inet {
        families.extend([not(libc::AF_INET)?, not(libc::AF_INET6)?]);
    }
    add(libc::SYS_socket, families)?;
    add(libc::SYS_socketpair, vec![not(libc::AF_UNIX)?])?;
    if !(order.local_sockets || inet) {
        // Datagrams need no connect to reach such a socket.
        let datagram = u64::from(libc::SOCK_DGRAM.cast_unsigned());
        add(
            libc::SYS_socket,
            vec![when(0, SeccompCmpOp::Eq, u64::from(libc::AF_UNIX.cast_unsigned()))?, when(1, SeccompCmpOp::MaskedEq(0xf), datagram)?],
        )?;
    }

    // New namespaces by clone; clone3 is absent, unshare and setns are denied.
    let namespaces = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    for flag in namespaces {
        add(libc::SYS_clone, vec![has(0, u64::from(flag.cast_unsigned()))?])?;
    }
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        add(libc::SYS_ioctl, vec![when(1, SeccompCmpOp::Eq, request)?])?;
    }

    // A set-uid file left in the view would be the engine's user's outside.
    for bit in [u64::from(libc::S_ISUID), u64::from(libc::S_ISGID)] {
        add(libc::SYS_fchmod, vec![has(1, bit)?])?;
        add(libc::SYS_fchmodat, vec![has(2, bit)?])?;
        add(libc::SYS_fchmodat2, vec![has(2, bit)?])?;
        add(libc::SYS_mknodat, vec![has(2, bit)?])?;
        for create in [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY] {
            let create = u64::from(create.cast_unsigned());
            add(libc::SYS_openat, vec![has(2, create)?, has(3, bit)?])?;
            #[cfg(target_arch = "x86_64")]
            add(libc::SYS_open, vec![has(1, create)?, has(2, bit)?])?;
        }
        #[cfg(target_arch = "x86_64")]
        {
            add(libc::SYS_chmod, vec![has(1, bit)?])?;
            add(libc::SYS_creat, vec![has(1, bit)?])?;
            add(libc::SYS_mknod, vec![has(1, bit)?])?;
        }
    }
    compile(rules, libc::EPERM)
}
