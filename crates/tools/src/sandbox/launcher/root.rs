//! The private root: a small read-only tmpfs with what the layout names bound into it, the view at
//! a fixed path, a fresh `/proc`, five devices, and a private `/tmp`. Every source is cloned before
//! anything is covered, and mounted by descriptor: no path of the view is followed by name.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};

use super::super::Layers;
use super::super::wire::{Order, Primitive, SCRATCH, VIEW};
use super::sys::{MountAttr, restrict_mount};
use super::{OrRefuse, Refusal};

/// The user inside, whoever it is outside.
pub(super) const UID: u32 = 1000;

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Files of /proc that tell of the machine rather than of the sandbox. The mount is read-only
/// besides; these would still be readable when the engine is root.
const MASKED: [&str; 10] =
    ["kcore", "keys", "key-users", "kmsg", "kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "sysrq-trigger", "timer_list"];

const READ_ONLY: MountAttr = MountAttr { read_only: true, no_devices: true, recursive: true };

fn clone_of(source: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, source, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE)?)
}

fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn new_mount(kind: &str, options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match *value {
            "" => fsconfig_set_flag(context.as_fd(), *key)?,
            value => fsconfig_set_string(context.as_fd(), *key, value)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?)
}

/// The layers of a view as one mount. Each is named by an open handle: a path may hold what the mount takes for punctuation.
fn layered(layers: &Layers) -> io::Result<OwnedFd> {
    let open = |path: &PathBuf| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let by_handle = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower = layers.lower.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = (open(&layers.upper)?, open(&layers.work)?);
    let lowers = lower.iter().map(by_handle).collect::<Vec<_>>().join(":");
    new_mount("overlay", &[("lowerdir", &lowers), ("upperdir", &by_handle(&upper)), ("workdir", &by_handle(&work)), ("userxattr", "")])
}

/// Inside paths are absolute; while the root is being built we stand in it.
fn here(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

pub(super) fn build(order: &Order) -> Result<(), Refusal> {
    let refuse = |what: &str, path: &Path| {
        let text = format!("{what} {}", path.display());
        move || text
    };
    let private = Primitive::PrivateRoot;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .or_refuse(private, refuse("make private", Path::new("/")))?;

    let mut mounts: Vec<(OwnedFd, &Path, bool)> = Vec::new();
    for bind in &order.layout.binds {
        let mount = clone_of(&bind.source).or_refuse(private, refuse("bind", &bind.source))?;
        restrict_mount(&mount, READ_ONLY).or_refuse(private, refuse("restrict", &bind.source))?;
        mounts.push((mount, &bind.target, bind.file));
    }
    let view = match &order.layers {
        Some(layers) => layered(layers).or_refuse(Primitive::Layers, refuse("mount layers over", &order.view))?,
        None => clone_of(&order.view).or_refuse(private, refuse("bind", &order.view))?,
    };
    restrict_mount(&view, MountAttr { read_only: !order.writable, ..READ_ONLY }).or_refuse(private, refuse("restrict", &order.view))?;
    mounts.push((view, Path::new(VIEW), false));
    if let Some(scratch) = &order.scratch {
        let mount = clone_of(scratch).or_refuse(private, refuse("bind", scratch))?;
        restrict_mount(&mount, MountAttr { read_only: false, ..READ_ONLY }).or_refuse(private, refuse("restrict", scratch))?;
        mounts.push((mount, Path::new(SCRATCH), false));
    }
    let devices: Vec<PathBuf> = DEVICES.iter().map(|name| Path::new("/dev").join(name)).collect();
    for device in &devices {
        let mount = clone_of(device).or_refuse(private, refuse("bind", device))?;
        restrict_mount(&mount, MountAttr { read_only: false, no_devices: false, recursive: false })
            .or_refuse(private, refuse("restrict", device))?;
        mounts.push((mount, device, true));
    }
    let mut masks = Vec::new();
    for name in MASKED {
        masks.push((name, clone_of(Path::new("/dev/null")).or_refuse(private, refuse("bind", &devices[0]))?));
    }

    // Any directory will do to hang the new root on until it is the root.
    let root =
        new_mount("tmpfs", &[("size", "4m"), ("nr_inodes", "4k"), ("mode", "0755")]).or_refuse(private, refuse("mount", Path::new("/")))?;
    attach(&root, Path::new("/tmp")).or_refuse(private, refuse("mount on", Path::new("/tmp")))?;
    rustix::process::fchdir(&root).or_refuse(private, refuse("enter", Path::new("/")))?;
    furnish(order).or_refuse(private, refuse("furnish", Path::new("/")))?;
    // First, so that what the layout shows below /tmp is not covered by it.
    memory_file_systems(order).or_refuse(private, refuse("mount on", Path::new("/tmp")))?;
    for (mount, target, file) in &mounts {
        place(mount, target, *file).or_refuse(private, refuse("mount on", target))?;
    }
    if order.writable {
        for name in &order.protected {
            protect(name).or_refuse(private, refuse("protect", Path::new(name)))?;
        }
    }
    proc(order, &masks)?;

    rustix::process::pivot_root(".", ".").or_refuse(private, refuse("pivot to", Path::new("/")))?;
    unmount(".", UnmountFlags::DETACH).or_refuse(private, refuse("detach the old", Path::new("/")))?;
    rustix::process::chdir("/").or_refuse(private, refuse("enter", Path::new("/")))?;
    restrict_mount(&root, MountAttr { recursive: false, ..READ_ONLY }).or_refuse(private, refuse("restrict", Path::new("/")))
}

fn furnish(order: &Order) -> io::Result<()> {
    for dir in ["dev", "etc", "proc", "tmp", "run", "var", here(Path::new(VIEW)).to_str().unwrap_or_default()] {
        fs::create_dir_all(dir)?;
    }
    fs::write("etc/passwd", format!("brigade:x:{UID}:{UID}::/tmp/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"))?;
    fs::write("etc/group", format!("brigade:x:{UID}:\nnogroup:x:65534:\n"))?;
    fs::write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
    let hosts = if order.network { "files dns" } else { "files" };
    fs::write("etc/nsswitch.conf", format!("passwd: files\ngroup: files\nhosts: {hosts}\n"))?;
    symlink("/tmp", "var/tmp")?;
    symlink("/proc/self/mounts", "etc/mtab")?;
    for (name, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{to}"), Path::new("dev").join(name))?;
    }
    for (path, to) in &order.layout.links {
        let path = here(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(to, path)?;
    }
    Ok(())
}

fn place(mount: &OwnedFd, target: &Path, file: bool) -> io::Result<()> {
    let target = here(target);
    if file {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if !target.exists() {
            fs::write(target, "")?;
        }
    } else {
        fs::create_dir_all(target)?;
    }
    attach(mount, target)
}

/// Mounts a name of the view's root onto itself, read-only: no write, no rename, no removal.
fn protect(name: &str) -> io::Result<()> {
    let view = rustix::fs::open(here(Path::new(VIEW)), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let place = match openat2(&view, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), beneath) {
        Ok(place) => place,
        // The engine puts a directory where a name must not appear; the others may be absent.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mount = open_tree(
        &place,
        "",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH,
    )?;
    restrict_mount(&mount, READ_ONLY)?;
    Ok(move_mount(&mount, "", &place, "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)?)
}

fn memory_file_systems(order: &Order) -> io::Result<()> {
    let size = order.caps.tmp.to_string();
    let tmp = new_mount("tmpfs", &[("size", &size), ("nr_inodes", "200k"), ("mode", "1777")])?;
    attach(&tmp, Path::new("tmp"))?;
    fs::create_dir("tmp/home")?;
    fs::create_dir("dev/shm")?;
    let shared = new_mount("tmpfs", &[("size", &size), ("nr_inodes", "10k"), ("mode", "1777")])?;
    attach(&shared, Path::new("dev/shm"))
}

fn proc(order: &Order, masks: &[(&str, OwnedFd)]) -> Result<(), Refusal> {
    let refuse = || "mount /proc".to_owned();
    let mount = new_mount("proc", &[]).or_refuse(Primitive::PrivateProc, refuse)?;
    attach(&mount, Path::new("proc")).or_refuse(Primitive::PrivateProc, refuse)?;
    // The kernel's own killer takes the sandbox before the engine.
    fs::write("proc/self/oom_score_adj", "1000").or_refuse(Primitive::PrivateProc, || "oom_score_adj".to_owned())?;
    if pid_limit_is_ours() {
        // Binds root too, whom RLIMIT_NPROC spares. Older kernels: the count of init's rounds.
        let _ = fs::write("proc/sys/kernel/pid_max", order.caps.processes.max(301).to_string());
    }
    for (name, null) in masks {
        let target = Path::new("proc").join(name);
        if target.exists() {
            attach(null, &target).or_refuse(Primitive::PrivateProc, || format!("mask /proc/{name}"))?;
        }
    }
    restrict_mount(&mount, MountAttr { recursive: false, ..READ_ONLY }).or_refuse(Primitive::PrivateProc, refuse)
}

/// Since 6.14 `pid_max` belongs to the pid namespace; before, it is the machine's and not to be touched.
fn pid_limit_is_ours() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 14)
}
