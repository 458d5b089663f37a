//! What can be seen, reached and changed from inside, one claim each.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::{Duration, Instant};

use brigade_tools::sandbox::{Sandbox, SandboxError, Spec, State, Status, harden_self};

use crate::world::{World, has, mark, runtime};

pub const ALL: &[(&str, fn())] = &[
    ("exit_codes_signals_and_both_streams_are_reported_as_they_are", reported_faithfully),
    ("output_that_is_not_utf8_is_shown_and_said_to_be_so", not_utf8),
    ("every_layer_works_here_and_the_probe_says_so", probe_works),
    ("nothing_outside_the_view_can_be_written", write_outside),
    ("nothing_outside_the_view_can_be_read", read_outside),
    ("symlinks_lead_nowhere_outside", symlinks),
    ("a_read_only_view_stays_as_it_is", read_only_view),
    ("no_socket_reaches_the_host_or_the_net", sockets),
    ("loopback_serves_inside_and_reaches_nothing_outside", loopback),
    ("the_kernel_doors_are_shut", kernel),
    ("no_set_uid_file_can_be_left_behind", set_uid),
    ("the_engine_can_be_neither_traced_nor_read", engine_is_hidden),
    ("no_variable_of_the_engine_reaches_the_command", environment),
    ("git_settings_and_hooks_cannot_be_rewritten", protected),
    ("a_spec_that_asks_too_much_is_refused_by_field", refusals),
    ("a_missing_program_is_named", missing_program),
    ("tools_of_the_trade_work_inside", tools),
    ("the_tool_and_the_check_say_how_a_command_ended", command_tool),
];

fn reported_faithfully() {
    let world = World::new();
    assert_eq!(world.run(world.spec(["true"])).status, Status::Exit(0));
    assert_eq!(world.run(world.spec(["sh", "-c", "exit 7"])).status, Status::Exit(7));
    assert_eq!(world.run(world.spec(["sh", "-c", "kill -SEGV $$"])).status, Status::Signal(11));
    let split = Spec { merge_output: false, ..world.spec(["sh", "-c", "echo out; echo err >&2"]) };
    let finished = world.run(split);
    assert_eq!((finished.stdout.text().as_str(), finished.stderr.text().as_str()), ("out\n", "err\n"));
    let finished = world.run(world.spec(["sh", "-c", "echo one; echo two >&2; echo three; pwd; id -u"]));
    assert_eq!(finished.stdout.text(), "one\ntwo\nthree\n/workspace\n1000\n");
    fs::create_dir(world.view.join("sub")).unwrap();
    let inner = Spec { cwd_in_view: "sub".into(), ..world.spec(["pwd"]) };
    assert_eq!(world.run(inner).stdout.text(), "/workspace/sub\n");
}

fn not_utf8() {
    let world = World::new();
    let finished = world.run(world.spec(["printf", r"a\377b"]));
    assert_eq!(finished.stdout.whole().unwrap(), b"a\xffb");
    assert_eq!(finished.stdout.text(), "a\u{fffd}b");
    assert!(!finished.stdout.is_utf8());
}

fn probe_works() {
    let world = World::new();
    let probe = runtime().block_on(world.sandbox.probe()).unwrap();
    assert!(probe.usable(), "{probe:?}");
    assert!(probe.primitives.iter().all(|(_, state)| *state == State::Works));
    assert!(probe.fault().is_none());
}

fn write_outside() {
    let world = World::new();
    let target = world.outside("owned");
    world.denied("write", &[&target, "/etc/owned", "/usr/owned", "/owned", "/dev/owned", "/etc/passwd", "/proc/self/comm", "/var/owned"]);
    world.denied("append", &["/etc/passwd", "/etc/hosts", "/usr/bin/env"]);
    world.denied("mkdir", &["/x", "/usr/x", "/proc/x"]);
    assert!(!fs::exists(target).unwrap());
    let inside = world.run(world.spec(["sh", "-c", "echo ok > made && mkdir -p a/b && mv made a/b/c && cat a/b/c && echo t > /tmp/t"]));
    assert_eq!(inside.stdout.text(), "ok\n");
    assert_eq!(fs::read_to_string(world.view.join("a/b/c")).unwrap(), "ok\n");
    let home = std::env::var("HOME").unwrap_or_default();
    assert!(!fs::exists("/tmp/t").unwrap(), "/tmp is not private ({home})");
}

fn read_outside() {
    let world = World::new();
    world.denied(
        "read",
        &[&world.outside("secret"), "/etc/shadow", "/root/.ssh/id_rsa", "/root/.bashrc", "/var/log/dpkg.log", "/sys/kernel/notes"],
    );
    let listing = world.run(world.spec(["sh", "-c", "ls -A / /home /root 2>/dev/null; cat /proc/mounts | wc -l"])).stdout.text();
    assert!(!listing.contains("boot") && !listing.contains("home"), "{listing}");
}

fn symlinks() {
    let world = World::new();
    symlink(world.outside.path(), world.view.join("up")).unwrap();
    symlink(world.outside("secret"), world.view.join("direct")).unwrap();
    symlink("..", world.view.join("dots")).unwrap();
    world.denied("read", &["up/secret", "direct", "dots/secret", "../secret", "/proc/self/cwd/../secret"]);
    world.denied("write", &["up/owned", "dots/owned", "direct"]);
    world.denied("symlink_then_write", &[&world.outside(""), "owned"]);
    world.denied("hardlink", &["/etc/passwd", "copy"]);
    assert_eq!(fs::read_to_string(world.outside("secret")).unwrap(), "CANARY-OUTSIDE");
    assert!(!fs::exists(world.outside("owned")).unwrap());
}

fn read_only_view() {
    let world = World::new();
    fs::write(world.view.join("file"), "kept").unwrap();
    let fixed = |spec: Spec| Spec { writable: false, ..spec };
    let tried = world.run(fixed(world.attack_spec("write", &["file", "new", "/workspace/x"])));
    assert_eq!(tried.stdout.text().lines().filter(|line| line.starts_with("DENIED")).count(), 3);
    assert_eq!(world.run(fixed(world.spec(["cat", "file"]))).stdout.text(), "kept");
    assert_eq!(fs::read_dir(&world.view).unwrap().count(), 1);
}

fn sockets() {
    let world = World::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_at = tcp.local_addr().unwrap().to_string();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let udp_at = udp.local_addr().unwrap().to_string();
    world.denied("tcp", &[&tcp_at, "169.254.169.254:80", "1.1.1.1:443", "[::1]:80"]);
    world.denied("udp", &[&udp_at, "8.8.8.8:53"]);
    assert!(udp.recv(&mut [0; 8]).is_err());

    let _outside = UnixListener::bind(world.outside("socket")).unwrap();
    // Even one that lies in the view, where it can be seen.
    let _inside = UnixListener::bind(world.view.join("socket")).unwrap();
    let datagram = UnixDatagram::bind(world.view.join("datagram")).unwrap();
    datagram.set_nonblocking(true).unwrap();
    world.denied("unix", &[&world.outside("socket"), "socket", "/var/run/docker.sock", "/run/dbus/system_bus_socket"]);
    world.denied("unix_datagram", &["datagram"]);
    assert!(datagram.recv(&mut [0; 8]).is_err());

    use std::os::linux::net::SocketAddrExt;
    let name = mark();
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    world.denied("abstract", &[&name]);
    world.denied("socket", &[]);
    let still = World::with(|profile| profile.local_sockets = true);
    still.denied("abstract", &[&name]);
    still.denied("unix", &[&world.outside("socket")]);
}

fn loopback() {
    if !has("python3") {
        println!("skipped: no python3");
        return;
    }
    let world = World::with(|profile| profile.loopback = true);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    world.denied("tcp", &[&tcp.local_addr().unwrap().to_string(), "169.254.169.254:80"]);
    let script = "import socket\ns=socket.create_server(('127.0.0.1',0))\nc=socket.create_connection(s.getsockname())\nc.send(b'hi')\nprint(s.accept()[0].recv(9))";
    let finished = world.run(world.spec(["python3", "-c", script]));
    assert_eq!(finished.stdout.text(), "b'hi'\n");
}

fn kernel() {
    let world = World::new();
    fs::create_dir(world.view.join(".git")).unwrap();
    world.denied("kernel", &[]);
}

fn set_uid() {
    World::new().denied("set_uid", &[]);
}

fn engine_is_hidden() {
    harden_self().unwrap();
    let world = World::new();
    world.denied("ptrace", &[&std::process::id().to_string()]);
    let seen = world.run(world.spec(["sh", "-c", "ls -d /proc/[0-9]*; cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp:)'"]));
    let text = seen.stdout.text();
    assert!(text.lines().filter(|line| line.starts_with("/proc/")).count() < 6, "{text}");
    assert!(text.lines().filter(|line| line.starts_with("Cap")).all(|line| line.ends_with("\t0000000000000000")), "{text}");
    assert!(text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2"), "{text}");
}

fn environment() {
    let world = World::new();
    let spec = Spec {
        env: [("GIVEN".to_owned(), "yes".to_owned())].into(),
        ..world.spec([
            "sh",
            "-c",
            "env; tr '\\0' '\\n' < /proc/self/environ; cat /proc/1/environ /proc/1/cmdline 2>&1; ls -l /proc/self/fd",
        ])
    };
    let text = world.run(spec).stdout.text();
    assert!(text.contains("GIVEN=yes") && text.contains("HOME=/tmp/home"), "{text}");
    // cargo sets this one for tests; it stands for every secret.
    let canary = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| "CARGO_MANIFEST_DIR".to_owned());
    assert!(!text.contains("CARGO_MANIFEST_DIR") && !text.contains(&format!("={canary}")), "{text}");
    assert!(!text.contains("socket:"), "a descriptor of the engine leaked: {text}");
}

fn protected() {
    let world = World::new();
    let git = world.view.join(".git");
    fs::create_dir_all(git.join("hooks")).unwrap();
    fs::write(git.join("config"), "[core]\n").unwrap();
    fs::write(world.view.join("AGENTS.md"), "be good").unwrap();
    world.denied("write", &[".git/config", ".git/hooks/pre-commit", ".brigade/config.toml", "AGENTS.md"]);
    world.denied("append", &[".git/config", "AGENTS.md"]);
    world.denied("rename", &[".git", "old"]);
    world.denied("rename", &["AGENTS.md", "old"]);
    world.denied("remove", &[".git/config", "AGENTS.md", ".brigade"]);
    world.denied("mkdir", &[".git", ".brigade"]);
    assert_eq!(fs::read_to_string(git.join("config")).unwrap(), "[core]\n");
    // What held the place of the absent one is gone again.
    assert!(!world.view.join(".brigade").exists() && git.exists());
    assert_eq!(world.run(world.spec(["cat", ".git/config"])).stdout.text(), "[core]\n");

    symlink("elsewhere", world.view.join(".brigade")).unwrap();
    let refused = world.try_run(world.spec(["true"])).unwrap_err();
    assert!(matches!(refused, SandboxError::Spec { field: "view_dir", .. }), "{refused}");
}

fn refusals() {
    let world = World::new();
    let field = |spec: Spec| match world.try_run(spec) {
        Err(SandboxError::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(Spec { timeout: Duration::from_secs(601), ..world.spec(["true"]) }), "timeout");
    assert_eq!(field(Spec { timeout: Duration::ZERO, ..world.spec(["true"]) }), "timeout");
    assert_eq!(field(world.spec([])), "argv");
    assert_eq!(field(world.spec(["a\0b"])), "argv");
    assert_eq!(field(Spec { cwd_in_view: "../..".into(), ..world.spec(["true"]) }), "cwd_in_view");
    assert_eq!(field(Spec { view_dir: "/".into(), ..world.spec(["true"]) }), "view_dir");
    assert_eq!(field(Spec { view_dir: "/does/not/exist".into(), ..world.spec(["true"]) }), "view_dir");
    assert_eq!(field(Spec { protected: vec!["a/b".into()], ..world.spec(["true"]) }), "protected");
    assert_eq!(field(Spec { env: [("A=B".to_owned(), String::new())].into(), ..world.spec(["true"]) }), "env");
    let whole_home = brigade_tools::sandbox::Profile { read_only: vec!["/".into()], ..Default::default() };
    assert!(matches!(Sandbox::new(&whole_home), Err(SandboxError::Spec { field: "read_only", .. })));
}

fn missing_program() {
    let world = World::new();
    let error = world.try_run(world.spec(["no-such-program-anywhere"])).unwrap_err();
    assert_eq!(error.to_string(), "cannot start \"no-such-program-anywhere\": no such program on the PATH of the sandbox");
    fs::write(world.view.join("plain"), "text").unwrap();
    let error = world.try_run(world.spec(["./plain"])).unwrap_err();
    assert!(error.to_string().contains("not executable"), "{error}");
    let lost = Spec { cwd_in_view: "nowhere".into(), ..world.spec(["true"]) };
    assert!(world.try_run(lost).unwrap_err().to_string().contains("nowhere"));
}

fn tools() {
    let world = World::new();
    let ok = |argv: &[&str]| {
        if !has(argv[0]) {
            println!("skipped: no {}", argv[0]);
            return;
        }
        let finished = world.run(Spec { timeout: Duration::from_secs(120), ..Spec::new(&world.view, argv.iter().copied()) });
        assert_eq!(finished.status, Status::Exit(0), "{argv:?}: {}", finished.stdout.text());
    };
    fs::write(world.view.join("Makefile"), "all:\n\techo made > made\n").unwrap();
    ok(&["make"]);
    ok(&["node", "-e", "require('child_process').execFileSync('true'); console.log(1)"]);
    ok(&["python3", "-c", "import ssl, subprocess, tempfile, multiprocessing as m\nwith m.Pool(2) as p: print(p.map(abs, [1, -2]))"]);
    ok(&["sh", "-c", "git init -q x && cd x && git status && git log || true"]);
    ok(&["perl", "-e", "print 1"]);
    assert!(world.view.join("made").exists());
}

/// Start cost of a command, for docs/performance.md; not a test.
pub fn bench(program: &str) {
    let world = World::new();
    let runtime = runtime();
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let spec = world.spec([program]);
            let started = Instant::now();
            runtime.block_on(world.sandbox.run(spec)).unwrap();
            started.elapsed()
        })
        .collect();
    times.sort();
    println!("{program}: p50 {:?} p90 {:?} p99 {:?}", times[150], times[270], times[297]);
}

/// The tool and the check, as the engine uses them.
fn command_tool() {
    use brigade_tools::command::{CommandError, Place, check, run_command};
    let world = World::new();
    let view = brigade_tools::View::in_place(&world.view).unwrap();
    let place = Place { view, scratch_dir: None, writable: true };
    let limit = Duration::from_secs(20);
    runtime().block_on(async {
        let call = |arguments: serde_json::Value| run_command_owned(&world.sandbox, &place, arguments);
        let ran = call(serde_json::json!({"argv": ["echo", "hello"]})).await.unwrap();
        assert_eq!(ran.brought().output.for_model(), "exit status 0\nhello\n");
        let refused = call(serde_json::json!({"argv": ["no-such-program"], "timeout_s": 5})).await.unwrap_err();
        assert!(matches!(&refused, CommandError::Refused(text) if text.contains("no-such-program")), "{refused}");

        let argv = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let failed = check(&world.sandbox, &place, &argv(&["sh", "-c", "seq 100000; exit 3"]), limit).await.unwrap();
        assert!(!failed.ok && failed.exit_code == Some(3));
        assert!(failed.evidence.starts_with("exit status 3\n") && failed.evidence.ends_with("100000\n"));
        assert!(failed.evidence.chars().count() <= 4000 + 20);
        assert!(check(&world.sandbox, &place, &argv(&["true"]), limit).await.unwrap().ok);
        let absent = check(&world.sandbox, &place, &argv(&["no-such-program"]), limit).await.unwrap();
        assert!(!absent.ok && absent.evidence.contains("no-such-program"));
    });

    async fn run_command_owned(
        sandbox: &Sandbox,
        place: &Place,
        arguments: serde_json::Value,
    ) -> Result<brigade_tools::command::Ran, CommandError> {
        run_command(sandbox, place, &arguments).await
    }
}
