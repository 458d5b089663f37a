//! Programs that try to get out. Each prints `DENIED <why>` or `ESCAPED <how>`; they run inside the
//! sandbox as `<this binary> __attack <name> [arguments]`.
#![allow(unsafe_code, reason = "system calls that no safe wrapper offers, made by a test program")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};

pub fn main(name: &str, args: &[String]) -> ! {
    let arg = |n: usize| args.get(n).map_or("", String::as_str);
    let verdicts = match name {
        "write" => args.iter().map(|path| told(fs::write(path, "owned"))).collect(),
        "append" => {
            args.iter().map(|path| told(fs::OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(b"x")))).collect()
        }
        "mkdir" => args.iter().map(|path| told(fs::create_dir(path))).collect(),
        "read" => args.iter().map(|path| told(fs::read_to_string(path))).collect(),
        "remove" => args.iter().map(|path| told(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)))).collect(),
        "rename" => vec![told(fs::rename(arg(0), arg(1)))],
        "hardlink" => vec![told(fs::hard_link(arg(0), arg(1)))],
        "symlink_then_write" => {
            vec![told(symlink(arg(0), "way-out").and_then(|()| fs::write(format!("way-out/{}", arg(1)), "owned")))]
        }
        "tcp" => args.iter().map(|to| told(TcpStream::connect(to.as_str()))).collect(),
        "udp" => args.iter().map(|to| told(UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", to.as_str())))).collect(),
        "unix" => args.iter().map(|path| told(UnixStream::connect(path))).collect(),
        "unix_datagram" => args.iter().map(|path| told(UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", path)))).collect(),
        "abstract" => vec![told(abstract_socket(arg(0)))],
        "socket" => vec![
            call("inet raw", libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_RAW as i64, 1, 0]),
            call("inet6", libc::SYS_socket, [libc::AF_INET6 as i64, libc::SOCK_STREAM as i64, 0, 0]),
            call("netlink", libc::SYS_socket, [libc::AF_NETLINK as i64, libc::SOCK_RAW as i64, 0, 0]),
            call("vsock", libc::SYS_socket, [libc::AF_VSOCK as i64, libc::SOCK_STREAM as i64, 0, 0]),
            call("packet", libc::SYS_socket, [libc::AF_PACKET as i64, libc::SOCK_RAW as i64, 0, 0]),
            call("alg", libc::SYS_socket, [libc::AF_ALG as i64, libc::SOCK_SEQPACKET as i64, 0, 0]),
        ],
        "kernel" => kernel(),
        "set_uid" => set_uid(),
        "ptrace" => ptrace(arg(0)),
        "tty" => {
            let mut byte = [0; 1];
            let tty = told(fs::File::open("/dev/tty").and_then(|mut tty| tty.read(&mut byte)));
            let input = match io::stdin().read(&mut byte) {
                Ok(0) => "DENIED end of input".to_owned(),
                other => format!("ESCAPED {other:?}"),
            };
            // SAFETY: plain ioctl with a readable byte.
            let pushed = unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) };
            vec![tty, input, answer("tiocsti", i64::from(pushed))]
        }
        "memory" => {
            let mut held = Vec::new();
            for _ in 0..256 {
                held.push(vec![1_u8; 64 << 20]);
            }
            vec![format!("ESCAPED {} blocks", held.len())]
        }
        "bomb" => bomb(),
        "daemon" => daemon(arg(0)),
        "deaf" => {
            // SAFETY: ignoring signals only.
            unsafe { (1..32).for_each(|signal| _ = libc::signal(signal, libc::SIG_IGN)) };
            std::thread::sleep(std::time::Duration::from_secs(500));
            vec!["ESCAPED slept".to_owned()]
        }
        "flood" => {
            let block = vec![b'y'; 1 << 16];
            loop {
                if io::stdout().write_all(&block).is_err() {
                    std::process::exit(1);
                }
            }
        }
        "fill" => {
            let mut file = fs::File::create(arg(0)).unwrap();
            let block = vec![0_u8; 1 << 20];
            // SAFETY: the limit's signal is ignored, so that the write says so instead.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
            let written = (0..8192).take_while(|_| file.write_all(&block).is_ok()).count();
            vec![if written < 8192 { format!("DENIED after {written} MiB") } else { "ESCAPED".to_owned() }]
        }
        "many_files" => {
            let made = (0..1_000_000).take_while(|n| fs::write(format!("{}/{n}", arg(0)), "").is_ok()).count();
            vec![if made < 1_000_000 { format!("DENIED after {made}") } else { "ESCAPED".to_owned() }]
        }
        other => vec![format!("ESCAPED unknown attack {other}")],
    };
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    std::process::exit(0)
}

fn told<T>(outcome: io::Result<T>) -> String {
    match outcome {
        Ok(_) => "ESCAPED".to_owned(),
        Err(error) => format!("DENIED {error}"),
    }
}

fn answer(what: &str, returned: i64) -> String {
    if returned == -1 { format!("DENIED {what}: {}", io::Error::last_os_error()) } else { format!("ESCAPED {what}: {returned}") }
}

fn call(what: &str, number: i64, args: [i64; 4]) -> String {
    // SAFETY: every caller passes integers, or pointers that are null or static.
    answer(what, unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) })
}

fn abstract_socket(name: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    UnixStream::connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)
}

fn kernel() -> Vec<String> {
    let tmp = c"/tmp".as_ptr() as i64;
    let proc = c"proc".as_ptr() as i64;
    let mut verdicts = vec![
        call("unshare user", libc::SYS_unshare, [libc::CLONE_NEWUSER as i64, 0, 0, 0]),
        call("unshare mount", libc::SYS_unshare, [libc::CLONE_NEWNS as i64, 0, 0, 0]),
        call("clone user", libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as i64, 0, 0, 0]),
        call("clone3", libc::SYS_clone3, [0, 0, 0, 0]),
        call("setns", libc::SYS_setns, [0, 0, 0, 0]),
        call("mount", libc::SYS_mount, [proc, tmp, proc, 0]),
        call("remount", libc::SYS_mount, [0, c"/usr".as_ptr() as i64, 0, (libc::MS_REMOUNT | libc::MS_BIND).cast_signed()]),
        call("umount", libc::SYS_umount2, [c"/workspace/.git".as_ptr() as i64, libc::MNT_DETACH as i64, 0, 0]),
        call("open_tree", libc::SYS_open_tree, [-100, tmp, 1, 0]),
        call("fsopen", libc::SYS_fsopen, [proc, 0, 0, 0]),
        call("pivot_root", libc::SYS_pivot_root, [tmp, tmp, 0, 0]),
        call("chroot", libc::SYS_chroot, [tmp, 0, 0, 0]),
        call("io_uring", libc::SYS_io_uring_setup, [8, [0_u8; 256].as_mut_ptr() as i64, 0, 0]),
        call("bpf", libc::SYS_bpf, [0, 0, 0, 0]),
        call("keyctl", libc::SYS_keyctl, [0, -3, 1, 0]),
        call("perf", libc::SYS_perf_event_open, [0, 0, -1, -1]),
        call("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0]),
        call("open_by_handle", libc::SYS_open_by_handle_at, [-100, 0, 0, 0]),
        call("device", libc::SYS_mknodat, [-100, c"/tmp/disk".as_ptr() as i64, (libc::S_IFBLK | 0o600) as i64, 0xfe00]),
        call("call of tomorrow", 900, [0, 0, 0, 0]),
        told(fs::write("/proc/sys/kernel/core_pattern", "|/tmp/x")),
        told(fs::write("/proc/sysrq-trigger", "h")),
        told(fs::OpenOptions::new().write(true).open("/proc/1/mem")),
        told(fs::read("/proc/1/environ").and_then(|text| if text.is_empty() { Err(io::Error::other("empty")) } else { Ok(text) })),
        told((0..16).find_map(|n| fs::File::open(format!("/proc/1/fd/{n}")).ok()).ok_or(io::Error::other("none opened"))),
        told(fs::File::open("/proc/1/mem")),
        told(fs::read_dir("/proc/1/root/")),
    ];
    #[cfg(target_arch = "x86_64")]
    verdicts.push(call("x32 socket", 0x4000_0000 + libc::SYS_socket, [libc::AF_INET as i64, 1, 0, 0]));
    verdicts
}

fn set_uid() -> Vec<String> {
    fs::write("tool", "#!/bin/sh\n").unwrap();
    let mode = |mode| fs::set_permissions("tool", fs::Permissions::from_mode(mode));
    mode(0o755).unwrap();
    let new = |name: &str| fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o4755).open(name);
    vec![told(mode(0o4755)), told(mode(0o2755)), told(new("other"))]
}

fn ptrace(engine: &str) -> Vec<String> {
    let pid: i64 = engine.parse().unwrap_or(1);
    vec![
        call("attach engine", libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, pid, 0, 0]),
        call("attach init", libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, 1, 0, 0]),
        call("traceme", libc::SYS_ptrace, [libc::PTRACE_TRACEME as i64, 0, 0, 0]),
        call("vm read", libc::SYS_process_vm_readv, [1, 0, 0, 0]),
        told(fs::read(format!("/proc/{engine}/environ"))),
        told(fs::read(format!("/proc/{engine}/cmdline"))),
        call("signal engine", libc::SYS_kill, [pid, 0, 0, 0]),
    ]
}

/// Everyone forks until nobody can.
fn bomb() -> Vec<String> {
    let mut forks = 0;
    loop {
        // SAFETY: this program has one thread.
        match unsafe { libc::fork() } {
            -1 => break,
            0 => loop {
                // SAFETY: as above.
                if unsafe { libc::fork() } == -1 {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            },
            _ => forks += 1,
        }
        if forks > 100_000 {
            return vec!["ESCAPED 100000 forks".to_owned()];
        }
    }
    vec![format!("DENIED {}", io::Error::last_os_error())]
}

/// Leaves a grandchild in a session of its own, deaf to signals, holding our output, marked by `mark`.
fn daemon(mark: &str) -> Vec<String> {
    // SAFETY: this program has one thread; the children only call exec or exit.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                (1..32).for_each(|signal| _ = libc::signal(signal, libc::SIG_IGN));
                let mark = std::ffi::CString::new(mark).unwrap();
                libc::execl(
                    c"/bin/sh".as_ptr(),
                    c"sh".as_ptr(),
                    c"-c".as_ptr(),
                    c"while :; do sleep 500; done".as_ptr(),
                    mark.as_ptr(),
                    std::ptr::null::<libc::c_char>(),
                );
            }
            libc::_exit(0);
        }
        libc::wait(std::ptr::null_mut());
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    vec!["DENIED nothing yet".to_owned()]
}
