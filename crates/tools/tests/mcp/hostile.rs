//! Faults 70 to 76 of the catalogue, and what an honest server gets.

use std::io::BufRead;
use std::time::{Duration, Instant};

use brigade_kernel::tool::Effect;

use crate::stage::{Stage, alive, answer, block_on, born, call, gone, list, unknown};

pub const ALL: &[(&str, fn())] = &[
    ("an_honest_server_is_called_and_sees_only_what_it_was_given", honest),
    ("an_untrusted_server_is_neither_started_nor_offered", untrusted),
    ("a_server_that_never_answers_initialize_is_cut", mute),
    ("a_server_that_cannot_start_says_why_and_no_secret", broken),
    ("garbage_on_stdout_and_a_flood_on_stderr_change_nothing", noisy),
    ("a_call_whose_server_died_is_unknown_and_never_repeated", dies),
    ("a_server_that_dies_at_every_call_is_given_up", gives_up),
    ("an_endless_line_ends_the_connection_in_bounded_memory", floods),
    ("silence_is_cut_and_progress_is_not", silent),
    ("changed_tools_quarantine_the_server_by_name", changed),
    ("tools_that_change_while_it_runs_quarantine_it", turns),
    ("what_a_server_says_of_its_effects_decides_nothing", lies),
    ("strange_and_stray_answers_are_dropped", stray),
    ("lists_that_never_end_and_twins_are_refused", lists),
    ("hidden_instructions_reach_no_prompt_raw", hidden),
    ("errors_and_long_results_are_shown_within_bounds", results),
    ("a_keyed_tool_is_told_which_call_it_is", keyed),
    ("the_network_is_there_only_where_it_was_given", network),
    ("nothing_of_a_server_outlives_its_servers", outlives),
    ("nothing_of_a_server_outlives_a_killed_engine", killed),
];

fn honest() {
    block_on(async {
        let mut stage = Stage::new("honest").with("env", list(&["PASSED"])).with("env.GIVEN", "given-value-1".into());
        stage.env.insert("PASSED".to_owned(), "passed-value-1".to_owned());
        stage.env.insert("OTHER".to_owned(), "canary-value-1".to_owned());
        let stage = stage.trusted().await;
        let servers = stage.servers();
        let specs = servers.specs();
        assert!(specs.iter().any(|s| s.name == "mcp__t__echo" && s.description.ends_with("Repeats a text.")), "{specs:?}");
        assert_eq!(stage.did("start"), 0, "specs come from the pins");
        assert_eq!(answer(&servers, "echo", "hello ✓").await.output, "hello ✓");
        assert_eq!(answer(&servers, "echo", "again").await.output, "again");
        assert_eq!(stage.did("start"), 1, "one process serves both");
        let env = answer(&servers, "env", "").await.output;
        // The values are the server's alone, even in what it says.
        assert!(env.contains("PASSED=[redacted]") && env.contains("GIVEN=[redacted]"), "{env}");
        assert!(!env.contains("canary") && !env.contains("OTHER") && env.contains("HOME=/scratch"), "{env}");
        let refused = servers.call("mcp__t__echo", "{\"text\": 7}", "k", Duration::from_secs(9)).await;
        assert!(format!("{refused:?}").contains("at /text"), "{refused:?}");
        assert_eq!(stage.did("echo"), 2, "refused arguments are not sent");
    });
}

fn untrusted() {
    block_on(async {
        let stage = Stage::new("honest");
        let servers = stage.servers();
        assert!(servers.specs().is_empty());
        let refused = answer(&servers, "echo", "x").await;
        assert!(refused.error.is_some_and(|e| e.contains("brigade mcp trust t")));
        assert!(stage.ledger().is_empty(), "it was never started");
    });
}

fn mute() {
    block_on(async {
        let stage = Stage::new("mute").with("init_timeout", "1s".into());
        let why = stage.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("init_timeout"), "{why}");
    });
}

fn broken() {
    block_on(async {
        let mut stage = Stage::new("broken").with("env", list(&["TOKEN"]));
        stage.env.insert("TOKEN".to_owned(), "canary-secret".to_owned());
        let why = stage.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("exit status 3") && why.contains("cannot find the database, token [redacted]"), "{why}");
        let absent = Stage::bare().with("command", "no-such-server".into());
        let why = absent.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("no-such-server"), "{why}");
        let unset = Stage::new("honest").with("env", list(&["NOT_SET_ANYWHERE"]));
        let why = unset.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("NOT_SET_ANYWHERE is not set"), "{why}");
    });
}

fn noisy() {
    block_on(async {
        for mode in ["garbage", "complains"] {
            let stage = Stage::new(mode).trusted().await;
            let servers = stage.servers();
            for n in 0..20 {
                assert_eq!(answer(&servers, "echo", &n.to_string()).await.output, n.to_string(), "{mode}");
            }
        }
    });
}

fn dies() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        let why = unknown(&servers, "die").await;
        assert!(why.contains("did not answer") && why.contains("exit status 7"), "{why}");
        assert_eq!(stage.did("die"), 1);
        // The next call starts it anew; the one that died stays as it is.
        assert_eq!(answer(&servers, "echo", "back").await.output, "back");
        assert_eq!((stage.did("die"), stage.did("start")), (1, 2));
    });
}

fn gives_up() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        for _ in 0..5 {
            unknown(&servers, "die").await;
        }
        let refused = answer(&servers, "echo", "x").await;
        assert!(refused.error.is_some_and(|e| e.contains("given up") && e.contains("nothing was done")));
        assert_eq!(stage.did("start"), 5);
    });
}

fn floods() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        let before = peak_kib();
        unknown(&servers, "flood").await;
        let grown = peak_kib() - before;
        assert!(grown < 200 << 10, "grew by {grown} KiB");
        assert_eq!(answer(&servers, "echo", "fine").await.output, "fine");
    });
}

/// The largest resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn silent() {
    block_on(async {
        let stage = Stage::new("honest").with("idle_timeout", "1s".into()).with("call_timeout", "20s".into()).trusted().await;
        let servers = stage.servers();
        let why = unknown(&servers, "slow").await;
        assert!(why.contains("no answer and no progress for 1 s"), "{why}");
        assert_eq!(stage.did("slow"), 1);
        drop(servers);
        let servers = stage.servers();
        assert_eq!(answer(&servers, "steady", "").await.output, "done at last");
        // The caller's deadline is shorter than the server's.
        let cut = servers.call("mcp__t__steady", "{}", "k", Duration::from_millis(600)).await;
        assert!(format!("{cut:?}").contains("Unknown"), "{cut:?}");
    });
}

fn changed() {
    block_on(async {
        for (mode, words) in [
            ("honest", "the description of \"echo\" changed"),
            ("more", "the tool \"extra\" is new"),
            ("schema", "the schema of \"echo\" changed"),
        ] {
            let stage = Stage::new(mode).trusted().await;
            std::fs::write(stage.workspace().join("version"), "2").unwrap();
            let servers = stage.servers();
            for _ in 0..2 {
                let refused = answer(&servers, "look", "x").await.error.unwrap();
                assert!(refused.contains(words) && refused.contains("quarantined") && refused.contains("brigade mcp trust t"), "{refused}");
            }
            assert_eq!(stage.did("look"), 0, "nothing was called");
            assert_eq!(stage.did("start"), 1, "it is not started again");
            stage.try_trust().await.unwrap();
            assert!(answer(&stage.servers(), "look", "x").await.ok, "trusted anew");
        }
        let stage = Stage::new("honest").trusted().await.with("args", list(&["__server", "more"]));
        let refused = answer(&stage.servers(), "echo", "x").await.error.unwrap();
        assert!(refused.contains("honest") && refused.contains("more") && refused.contains("not what was trusted"), "{refused}");
    });
}

fn turns() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        assert!(answer(&servers, "turn", "").await.ok);
        let refused = answer(&servers, "echo", "x").await.error.unwrap();
        assert!(refused.contains("the description of \"echo\" changed"), "{refused}");
        assert_eq!(stage.did("echo"), 0);
    });
}

fn lies() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        assert!(servers.specs().iter().all(|spec| spec.effect == Effect::Unkeyed), "annotations say read-only and idempotent");
        assert!(answer(&servers, "look", "").await.ok);
        assert!(stage.workspace().join("written").exists(), "and it writes");
        // Without `writable` the sandbox does not let it.
        let kept = Stage::bare();
        let exe = std::env::current_exe().unwrap();
        let kept = kept.with("command", exe.to_str().unwrap().into()).with("args", list(&["__server", "honest"]));
        let kept = kept.with("cwd", ".".into());
        let why = kept.try_trust().await.unwrap_err().to_string();
        assert!(why.contains("Read-only file system"), "{why}");
    });
}

fn stray() {
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        for _ in 0..3 {
            assert_eq!(answer(&servers, "stray", "").await.output, "mine");
        }
        let strange = answer(&servers, "strange", "").await;
        assert!(strange.error.is_some_and(|e| e.contains("no result of a tool")));
        assert_eq!(answer(&servers, "echo", "still here").await.output, "still here");
    });
}

fn lists() {
    block_on(async {
        for (mode, words) in [("endless", "more than 32 pages"), ("twins", "two tools named \"echo\"")] {
            let why = Stage::new(mode).try_trust().await.unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
    });
}

fn hidden() {
    block_on(async {
        let stage = Stage::new("hidden").trusted().await;
        let specs = stage.servers().specs();
        let about = &specs[0].description;
        assert!(about.starts_with("(Described by the MCP server t.)"), "{about}");
        assert!(about.is_ascii() && !about.contains('\u{1b}') && about.contains("\\u{e0049}"), "{about}");
    });
}

fn results() {
    block_on(async {
        let stage = Stage::new("honest").with("tools", list(&["fail", "big", "refuse"])).trusted().await;
        let servers = stage.servers();
        assert_eq!(servers.specs().len(), 3, "the configuration lets three through");
        let failed = answer(&servers, "fail", "").await;
        assert!(!failed.ok && failed.output == "no such page");
        let refused = answer(&servers, "refuse", "").await.error.unwrap();
        assert!(refused.contains("bad \\x1b[31marguments"), "{refused}");
        let big = answer(&servers, "big", "").await;
        assert!(big.truncated && big.output.len() < 45_000 && big.output.contains("left out"));
        let hidden = answer(&servers, "echo", "x").await.error.unwrap();
        assert!(hidden.contains("no tool \"echo\" for you"), "{hidden}");
    });
}

fn keyed() {
    block_on(async {
        let stage = Stage::new("honest").with("keyed.echo", "text=run/{{key}}".into()).trusted().await;
        let servers = stage.servers();
        let spec = servers.specs().into_iter().find(|s| s.name == "mcp__t__echo").unwrap();
        assert_eq!(spec.effect, Effect::Keyed);
        assert_eq!(answer(&servers, "echo", "the model's own").await.output, "run/key-1");
    });
}

fn network() {
    block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let without = Stage::new("honest").trusted().await;
        assert_eq!(answer(&without.servers(), "dial", &here).await.output, "Err(PermissionDenied)");
        let with = Stage::new("honest").with("network", "true".into()).trusted().await;
        assert_eq!(answer(&with.servers(), "dial", &here).await.output, "Ok(())");
    });
}

fn outlives() {
    let mark = format!("mark-{}-outlives", std::process::id());
    block_on(async {
        let stage = Stage::new("honest").trusted().await;
        let servers = stage.servers();
        assert!(answer(&servers, "daemon", &mark).await.ok);
        assert!(born(&mark));
        drop(servers);
        assert!(gone(&mark, Duration::from_secs(2)), "{} live", alive(&mark));
        // Also when it is the call that is given up.
        let servers = stage.servers();
        assert!(answer(&servers, "daemon", &mark).await.ok);
        let _ = tokio::time::timeout(Duration::from_millis(100), call(&servers, "slow", "")).await;
        servers.close().await;
        assert!(gone(&mark, Duration::from_secs(2)), "{} live", alive(&mark));
    });
}

fn killed() {
    let mark = format!("mark-{}-killed", std::process::id());
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["__engine", &mark])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(engine.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    engine.kill().unwrap();
    engine.wait().unwrap();
    let started = Instant::now();
    assert!(gone(&mark, Duration::from_secs(2)), "{} live after {:?}", alive(&mark), started.elapsed());
}
