//! What an errand may do, and what is left of one that does otherwise.

use std::time::Duration;

use brigade_kernel::call::ErrorClass;
use brigade_kernel::time::Millis;
use brigade_kernel::usage::Usage;
use brigade_tools::agent::Errand;

use crate::stage::{Stage, alive, block_on, has, list, mark, schema, until};

pub const ALL: &[(&str, fn())] = &[
    ("an_agent_works_in_the_view_and_its_lines_are_read", works),
    ("an_agent_is_told_what_it_needs_and_nothing_else", told),
    ("an_agent_that_may_not_write_cannot", reads),
    ("an_agent_sees_a_copy_of_its_login_and_cannot_alter_it", login),
    ("an_agent_that_hangs_is_stopped_and_its_work_thrown_away", hangs),
    ("an_agent_that_floods_is_stopped", floods),
    ("an_agent_that_reports_more_than_it_was_leased_is_stopped", over),
    ("an_agent_that_ends_badly_has_no_answer_and_left_no_work", broken),
    ("nothing_an_agent_started_outlives_it", forks),
    ("an_errand_that_is_given_up_leaves_the_view_as_it_was", dropped),
    ("an_agent_reaches_the_hosts_it_was_given_and_no_other", network),
    ("an_agent_that_is_not_there_is_named_and_nothing_was_sent", absent),
];

/// Takes its prompt, so that no script ends before it has it.
const LISTEN: &str = "cat >/scratch/prompt; ";

fn script(rest: &str) -> Stage {
    Stage::new(&format!("{LISTEN}{rest}"))
}

fn works() {
    let stage = script(
        r#"echo b >> a.txt; echo 'not json'; echo '{"type":"command","command":"make","exit_code":2}'
           echo '{"type":"result","text":"done","usage":{"input_tokens":9,"cached_tokens":4,"output_tokens":3},"model":"small-1-x"}'"#,
    );
    let done = stage.sent(true);
    let answer = done.answer.unwrap();
    assert_eq!((answer.text.as_str(), answer.model.as_deref()), ("done", Some("small-1-x")));
    let usage = Usage { input_tokens: 9, cached_tokens: 4, output_tokens: 3, ..Usage::default() };
    assert_eq!(answer.usage, Some(usage));
    assert_eq!((done.deeds[0].what.as_str(), done.deeds[0].ok), ("make", Some(false)));
    assert!(stage.seen("a.txt").unwrap().contains("+b"));
    assert_eq!(stage.in_workspace("a.txt").as_deref(), Some("a\n"), "the workspace is not touched");
    // A second errand goes on from there.
    assert!(stage.says().is_ok() && stage.seen("a.txt").unwrap().matches("+b").count() == 2);
}

fn told() {
    let mut stage = script(
        r#"printf '{"type":"result","text":"%s|%s|%s|%s|%s"}\n' "$BRIGADE_AGENT_MODEL" "$BRIGADE_AGENT_WRITES" "$TOKEN" "$OTHER" "$(head -c 6 /scratch/prompt)$(grep -c additionalProperties /scratch/prompt $BRIGADE_AGENT_SCHEMA | tr '\n' ' ')$(ls -A | tr '\n' ' ')""#,
    )
    .with("env", list(&["TOKEN"]));
    stage.format = Some(schema());
    for name in ["TOKEN", "OTHER"] {
        stage.env.insert(name.to_owned(), format!("{name}-canary"));
    }
    let said = stage.says().unwrap();
    // The key it was given is taken out of what it says; the user's .env is not in the view.
    assert_eq!(said, "small-1|true|(redacted)||Rules./scratch/prompt:1 /scratch/schema.json:1 .brigade .git a.txt ");
}

fn reads() {
    let stage = script(r#"touch new 2>/dev/null && W=yes || W=no; echo "{\"type\":\"result\",\"text\":\"$W $(cat a.txt)\"}""#);
    let done = stage.sent(false);
    assert_eq!(done.answer.unwrap().text, "no a");
    assert!(stage.unchanged());
}

fn login() {
    let stage = script(
        r#"cd ~/.login; T=$(cat login.json); echo stolen > login.json; L=$(ls -A)
           ls "$USERS" >/dev/null 2>&1 && S=seen || S=hidden; echo x 2>/dev/null > /etc/x && E=written || E=kept
           echo "{\"type\":\"result\",\"text\":\"$T $L $S $E\"}""#,
    );
    let users = stage.env["HOME"].clone();
    let mut stage = stage.with("home", "~/.agent".into()).with("home_files", list(&["login.json", "absent"])).with("env", list(&["USERS"]));
    stage.env.insert("USERS".to_owned(), users);
    assert_eq!(stage.says().unwrap(), "login login.json hidden kept");
    assert_eq!(std::fs::read_to_string(stage.dir.path().join("user/.agent/login.json")).unwrap(), "login\n");
}

fn hangs() {
    let mark = mark("hangs");
    let mut stage = script(&format!("echo b >> a.txt; echo '{{\"type\":\"note\",\"text\":\"I think\"}}'; exec -a {mark} sleep 600"));
    stage.fields = vec![(
        "command",
        list(&[
            "bash",
            "-c",
            &format!("{LISTEN}echo b >> a.txt; echo '{{\"type\":\"note\",\"text\":\"I think\"}}'; exec -a {mark} sleep 600"),
        ]),
    )];
    if !has("bash") {
        return eprintln!("SKIPPED: no bash here");
    }
    stage.deadline = Millis(1_500);
    let done = stage.sent(true);
    let error = done.answer.unwrap_err();
    assert_eq!((error.class, error.usage), (ErrorClass::TimedOut, None), "{}", error.message);
    assert_eq!(done.deeds[0].what, "I think");
    assert!(until(&mark, |n| n == 0) && stage.unchanged());
}

fn floods() {
    let stage = script("yes '{\"type\":\"note\",\"text\":\"more\"}'");
    let done = stage.sent(true);
    let error = done.answer.unwrap_err();
    assert_eq!(error.class, ErrorClass::Garbage, "{}", error.message);
    assert!(done.deeds.len() <= 200);
    // One long line is no flood: it is passed over.
    let long = script(r#"head -c 9000000 /dev/zero | tr '\0' x; echo; echo '{"type":"result","text":"still here"}'"#);
    assert_eq!(long.says().unwrap(), "still here");
}

fn over() {
    let mark = mark("over");
    let stage = script(&format!(
        r#"echo b >> a.txt; echo '{{"type":"usage","input_tokens":2000,"output_tokens":5}}'; sh -c 'sleep 600; : {mark}'"#
    ))
    .with("max_input_tokens", "1999".into());
    let error = stage.says().unwrap_err();
    assert_eq!((error.class, error.usage.map(|u| u.input_tokens)), (ErrorClass::BadRequest, Some(2_000)), "{}", error.message);
    assert!(error.message.contains("max_input_tokens") && until(&mark, |n| n == 0) && stage.unchanged());
}

fn broken() {
    let stage = script(r#"echo b >> a.txt; echo '{"type":"result","text":"done"}'; echo 'cannot go on' >&2; exit 3"#);
    let error = stage.says().unwrap_err();
    assert_eq!(error.class, ErrorClass::Garbage);
    assert!(error.message.contains("exit status 3") && error.message.contains("cannot go on"), "{}", error.message);
    assert!(stage.unchanged());
    let mute = Stage::new("exit 0").says().unwrap_err();
    assert!(mute.message.contains("no answer among its lines"), "{}", mute.message);
    let quota = script(r#"echo '{"type":"error","kind":"quota","message":"come back at 5"}'; exit 1"#).says().unwrap_err();
    assert_eq!((quota.class, quota.usage), (ErrorClass::QuotaExhausted, Some(Usage::default())));
}

fn forks() {
    let mark = mark("forks");
    let stage = script(&format!(
        r#"for i in 1 2 3; do setsid sh -c 'sleep 600; : {mark}' </dev/null >/dev/null 2>&1 & done; (setsid sh -c 'sleep 600; : {mark}' &); sleep 0.3
           echo '{{"type":"result","text":"done"}}'"#
    ));
    assert_eq!(stage.says().unwrap(), "done");
    assert_eq!(alive(&mark), 0);
}

fn dropped() {
    let mark = mark("dropped");
    let stage = script(&format!("echo b >> a.txt; sh -c 'sleep 600; : {mark}'"));
    block_on(async {
        let (agent, call) = (stage.agent(), stage.call());
        let errand = Errand { call: &call, view: stage.view.clone(), writable: true, private_dir: stage.private() };
        let run = agent.run(&errand);
        tokio::pin!(run);
        for _ in 0..400 {
            if tokio::time::timeout(Duration::from_millis(50), &mut run).await.is_ok() {
                panic!("it ended by itself");
            }
            if alive(&mark) > 0 {
                return;
            }
        }
        panic!("it never started");
    });
    assert!(until(&mark, |n| n == 0));
    assert!(stage.unchanged() && !stage.private().exists());
}

/// Dials a port at the loopback interface; or asks the proxy for a host, and says the first line of what comes back.
const DIAL: &str = r#"
dial() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && echo reached || echo denied; }
ask() { exec 3<>/dev/tcp/127.0.0.1/3128 || return; printf 'CONNECT %s HTTP/1.1\r\n\r\n' "$1" >&3; head -n 1 <&3 | tr -d '\r'; }
get() { exec 3<>/dev/tcp/127.0.0.1/3128 || return; printf 'GET http://%s/x HTTP/1.1\r\nHost: h\r\n\r\n' "$1" >&3; cat <&3 | tail -n 1; }
say() { printf '{"type":"result","text":"%s"}\n' "$1"; }
"#;

fn network() {
    if !has("bash") {
        return eprintln!("SKIPPED: no bash here");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut guest in listener.incoming().flatten() {
            let mut head = [0; 1_000];
            let count = guest.read(&mut head).unwrap_or(0);
            let first = String::from_utf8_lossy(&head[..count]).lines().next().unwrap_or_default().to_owned();
            let _ = write!(guest, "HTTP/1.1 200 OK\r\n\r\nheard {first}");
        }
    });
    let said = |script: &str, field: (&'static str, brigade_kernel::policy::Setting)| {
        let mut stage = Stage::new("");
        stage.fields = vec![("command", list(&["bash", "-c", &format!("{LISTEN}{DIAL}{script}")])), field];
        let done = stage.sent(true);
        let refused: Vec<String> = done.deeds.into_iter().filter(|deed| deed.kind == "network").map(|deed| deed.what).collect();
        (done.answer.unwrap().text, refused)
    };
    let none = Vec::<String>::new();
    let (dial, host) = (format!("say \"$(dial {port})\""), format!("127.0.0.1:{port}"));
    assert_eq!(said(&dial, ("network", "false".into())), ("denied".to_owned(), none.clone()));
    assert_eq!(said(&dial, ("network", "true".into())), ("reached".to_owned(), none.clone()));
    // With hosts there is the proxy and nothing beside it, and it leads to them alone.
    let hosts = || ("hosts", list(&[&host]));
    assert_eq!(said(&dial, hosts()), ("denied".to_owned(), none.clone()));
    assert_eq!(said(&format!("say \"$(get {host})\""), hosts()), ("heard GET /x HTTP/1.1".to_owned(), none.clone()));
    assert_eq!(said(&format!("say \"$(ask {host})\""), hosts()), ("HTTP/1.1 200 OK".to_owned(), none));
    let refused = ("HTTP/1.1 403 Forbidden".to_owned(), vec!["secrets.example:443".to_owned()]);
    assert_eq!(said("say \"$(ask secrets.example:443)\"", hosts()), refused);
    let named = said("say \"$HTTPS_PROXY $http_proxy\"", hosts()).0;
    assert_eq!(named, "http://127.0.0.1:3128 http://127.0.0.1:3128");
}

fn absent() {
    let mut stage = Stage::new("");
    stage.fields = vec![("command", list(&["no-such-agent"]))];
    let error = stage.says().unwrap_err();
    assert!(!error.sent && error.class == ErrorClass::Refused && error.message.contains("no-such-agent"), "{}", error.message);
    assert!(stage.unchanged());
}
