//! Many writers on one repository: their work lands as one patch, or it is merged, checked together, or a person is asked.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::stage::Stage;

/// An answer to whoever is told `word`: one call of a tool, then words.
fn does(word: &str, tool: &str, arguments: &str) -> String {
    format!(
        "[[rule]]\nmatch = {{ contains = \"{word}\", tool_result = \"\" }}\nreply = {{ text = \"did {word}\" }}\n\
         [[rule]]\nmatch = {{ contains = \"{word}\" }}\nreply = {{ calls = [{{ call_id = \"call_1\", name = \"{tool}\", arguments = {arguments} }}] }}\n"
    )
}

fn writes(word: &str, path: &str, content: &str) -> String {
    does(word, "write_file", &format!("{{ path = \"{path}\", content = {} }}", toml_text(content)))
}

fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn writer(id: &str, word: &str, path: &str, more: &str) -> String {
    format!(
        "[[subtasks]]\nid = \"{id}\"\ntype = \"generate\"\ndescription = \"{word}\"\nfiles = [\"{path}\"]\nwrites = [\"{path}\"]\ntools = [\"write_file\"]\n{more}\n"
    )
}

const REVIEW: &str = "[[rule]]\nmatch = { format = \"brigade_review\" }\nreply = { json = { summary = \"good\", verdict = \"approve\", revisions = [], add = [], final_output = \"all done\" } }\n";

fn stage(rules: &[String]) -> Stage {
    Stage::new(&format!("{REVIEW}{}", rules.concat()))
}

fn read(stage: &Stage, path: &str) -> Option<String> {
    std::fs::read_to_string(stage.dir.path().join("workspace").join(path)).ok()
}

fn put(stage: &Stage, path: &str, text: &str) {
    std::fs::write(stage.dir.path().join("workspace").join(path), text).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "the test's own repository")]
fn git(dir: &Path, arguments: &[&str]) -> String {
    let run = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args(arguments)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim_end().to_owned()
}

fn repository(stage: &Stage) {
    let dir = stage.dir.path().join("workspace");
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "."]);
    git(&dir, &["commit", "-q", "--allow-empty", "-m", "start"]);
}

#[test]
fn eight_writers_at_once_land_as_one_patch() {
    let rules: Vec<String> = (0..8).map(|n| writes(&format!("MAKE-{n}"), &format!("f{n}.txt"), &format!("text {n}\n"))).collect();
    let stage = stage(&rules);
    put(&stage, "kept.txt", "mine\n");
    repository(&stage);
    let mut plan = String::new();
    for n in 0..8 {
        let _ = write!(plan, "{}", writer(&format!("w{n}"), &format!("MAKE-{n}"), &format!("f{n}.txt"), ""));
    }
    let ran = stage.run(&plan, &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for n in 0..8 {
        assert_eq!(read(&stage, &format!("f{n}.txt")), Some(format!("text {n}\n")));
    }
    assert_eq!(read(&stage, "kept.txt").as_deref(), Some("mine\n"));
    let patch = stage.brigade(&["show", &stage.ids()[0], "--patch"]).out;
    assert_eq!(patch.matches("diff --git").count(), 8, "{patch}");
}

#[test]
fn two_that_edit_the_same_line_are_merged_on_the_flagship_and_checked_again() {
    let both = "one\nalpha and beta\nthree\n";
    let stage = stage(&[
        // First: who merges is shown what both sides were to do.
        writes("side by side", "f.txt", both),
        writes("SET-ALPHA", "f.txt", "one\nalpha\nthree\n"),
        writes("SET-BETA", "f.txt", "one\nbeta\nthree\n"),
    ]);
    put(&stage, "f.txt", "one\ntwo\nthree\n");
    let check = |word: &str| format!("checks = [[\"grep\", \"-q\", \"{word}\", \"f.txt\"]]");
    let plan = writer("a", "SET-ALPHA", "f.txt", &check("alpha")) + &writer("b", "SET-BETA", "f.txt", &check("beta"));
    let ran = stage.run(&plan, &["--apply", "auto", "-v"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read(&stage, "f.txt").as_deref(), Some(both));
    assert!(ran.err.contains("conflict a and b changed f.txt"), "{}", ran.err);
    assert!(ran.err.contains("start merge-a-b on flagship"), "{}", ran.err);
    assert!(ran.err.contains("passed merge-a-b: check grep -q alpha f.txt"), "{}", ran.err);
}

#[test]
fn a_check_that_passes_alone_and_fails_on_all_work_together_is_mended_there() {
    let stage = stage(&[
        writes("without undoing what the others did", "b.txt", "2\n"),
        writes("MAKE-A", "a.txt", "1\n"),
        writes("MAKE-B", "b.txt", "1\n"),
    ]);
    put(&stage, "start.txt", "");
    // Alone each of them passes; together the lines must differ.
    let check = "checks = [[\"sh\", \"-c\", \"! test -e a.txt || ! test -e b.txt || ! cmp -s a.txt b.txt\"]]";
    let plan = writer("a", "MAKE-A", "a.txt", check) + &writer("b", "MAKE-B", "b.txt", check);
    let ran = stage.run(&plan, &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "b.txt").as_deref()), (Some("1\n"), Some("2\n")), "{}", ran.err);
    assert!(ran.err.contains("failed all together: check"), "{}", ran.err);
    assert!(ran.err.contains("again b"), "{}", ran.err);
}

#[test]
fn a_later_subtask_and_a_reader_see_what_they_hang_on() {
    let stage = stage(&[
        does("LOOK", "read_file", "{ path = \"a.txt\" }"),
        does("MAKE-B", "run_command", "{ argv = [\"sh\", \"-c\", \"cat a.txt a.txt > b.txt\"] }"),
        writes("MAKE-A", "a.txt", "from a\n"),
    ]);
    put(&stage, "start.txt", "");
    let plan = writer("a", "MAKE-A", "a.txt", "")
        + &writer("b", "MAKE-B", "b.txt", "depends_on = [\"a\"]").replace("\"write_file\"", "\"run_command\"")
        + "[[subtasks]]\nid = \"r\"\ntype = \"search\"\ndescription = \"LOOK\"\ndepends_on = [\"b\"]\ntools = [\"read_file\"]\n";
    let ran = stage.run(&plan, &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read(&stage, "b.txt").as_deref(), Some("from a\nfrom a\n"));
    let seen = stage.brigade(&["show", &stage.ids()[0], "--events", "--json"]).out;
    assert!(seen.contains("did LOOK"), "{seen}");
}

#[test]
fn what_a_command_changes_out_of_scope_fails_by_name() {
    let stage = stage(&[
        does("check `scope` failed", "run_command", "{ argv = [\"sh\", \"-c\", \"echo good > a.txt\"] }"),
        does("MAKE-A", "run_command", "{ argv = [\"sh\", \"-c\", \"echo good > a.txt; echo bad > other.txt\"] }"),
    ]);
    put(&stage, "start.txt", "");
    let ran = stage.run(&writer("a", "MAKE-A", "a.txt", "").replace("\"write_file\"", "\"run_command\""), &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("failed a: check scope"), "{}", ran.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "other.txt")), (Some("good\n"), None));
}

#[test]
fn what_the_user_edits_meanwhile_is_kept() {
    let stage = stage(&[writes("MAKE-A", "a.txt", "theirs\n"), writes("MAKE-B", "b.txt", "new\n")]);
    put(&stage, "a.txt", "old\n");
    put(&stage, "c.txt", "old\n");
    let plan = writer("a", "MAKE-A", "a.txt", "") + &writer("b", "MAKE-B", "b.txt", "");
    let ran = stage.run(&plan, &["--apply", "never"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    put(&stage, "a.txt", "mine\n");
    put(&stage, "c.txt", "mine too\n");
    let id = stage.ids().remove(0);
    let refused = stage.brigade(&["apply", &id]);
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("a.txt") && !refused.err.contains("c.txt"), "{}", refused.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "b.txt")), (Some("mine\n"), None), "all of it, or nothing");
    put(&stage, "a.txt", "old\n");
    assert_eq!(stage.brigade(&["apply", &id]).code, Some(0));
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "c.txt").as_deref()), (Some("theirs\n"), Some("mine too\n")));
}

#[test]
fn a_branch_holds_the_patch_and_the_work_tree_stays_as_it_is() {
    let stage = stage(&[writes("MAKE-A", "sub/a.txt", "new\n")]);
    put(&stage, "a.txt", "old\n");
    repository(&stage);
    put(&stage, "a.txt", "not committed\n");
    let dir = stage.dir.path().join("workspace");
    let (head, before) = (git(&dir, &["rev-parse", "HEAD"]), git(&dir, &["status", "--porcelain"]));
    let ran = stage.run(&writer("a", "MAKE-A", "sub/a.txt", ""), &["--apply", "branch"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let branch = format!("brigade/{}", stage.ids()[0]);
    assert!(ran.err.contains(&format!("the patch is on the branch {branch}")), "{}", ran.err);
    assert_eq!(git(&dir, &["show", &format!("{branch}:sub/a.txt")]), "new");
    assert_eq!(git(&dir, &["show", &format!("{branch}:a.txt")]), "old");
    assert_eq!(git(&dir, &["rev-parse", &format!("{branch}^")]), head);
    assert_eq!((git(&dir, &["rev-parse", "HEAD"]), git(&dir, &["status", "--porcelain"])), (head, before));
    assert_eq!(read(&stage, "sub/a.txt"), None);
}

#[test]
fn a_branch_in_a_folder_of_a_repository_holds_the_patch_there() {
    let stage = stage(&[writes("MAKE-A", "a.txt", "new\n")]);
    put(&stage, "a.txt", "old\n");
    let above = stage.dir.path();
    git(above, &["init", "-q", "-b", "main"]);
    git(above, &["add", "workspace"]);
    git(above, &["commit", "-q", "-m", "start"]);
    let ran = stage.run(&writer("a", "MAKE-A", "a.txt", ""), &["--apply", "branch"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(git(above, &["show", &format!("brigade/{}:workspace/a.txt", stage.ids()[0])]), "new");
}

#[test]
fn a_branch_outside_git_is_refused_by_name_before_a_token_is_spent() {
    let stage = stage(&[writes("MAKE-A", "a.txt", "new\n")]);
    put(&stage, "a.txt", "old\n");
    let ran = stage.run(&writer("a", "MAKE-A", "a.txt", ""), &["--apply", "branch"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("--apply branch") && ran.err.contains("not inside a git work tree"), "{}", ran.err);
    assert!(stage.ledger().calls.is_empty());
}

#[test]
fn what_was_applied_is_taken_back_where_nobody_touched_it_since() {
    let stage = stage(&[writes("MAKE-A", "a.txt", "new\n"), writes("MAKE-B", "b.txt", "made\n")]);
    put(&stage, "a.txt", "old\n");
    let plan = writer("a", "MAKE-A", "a.txt", "") + &writer("b", "MAKE-B", "b.txt", "");
    assert_eq!(stage.run(&plan, &["--apply", "auto"]).code, Some(0));
    let id = stage.ids().remove(0);
    put(&stage, "a.txt", "mine\n");
    let refused = stage.brigade(&["undo", &id]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("a.txt") && !refused.err.contains("b.txt"), "{}", refused.err);
    assert_eq!(read(&stage, "b.txt").as_deref(), Some("made\n"), "all of it, or nothing");
    put(&stage, "a.txt", "new\n");
    let undone = stage.brigade(&["undo", &id]);
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "b.txt")), (Some("old\n"), None));
    let again = stage.brigade(&["undo", &id]);
    assert_eq!(again.code, Some(2), "{}", again.err);
    assert_eq!(stage.brigade(&["apply", &id]).code, Some(0), "it may be applied again");
    assert_eq!(read(&stage, "a.txt").as_deref(), Some("new\n"));
}

#[test]
fn the_verified_work_of_an_unfinished_run_can_be_taken_and_taken_back() {
    let stage = stage(&[writes("MAKE-A", "a.txt", "new\n"), writes("MAKE-B", "b.txt", "made\n")]);
    put(&stage, "a.txt", "old\n");
    let plan = writer("a", "MAKE-A", "a.txt", "") + &writer("b", "MAKE-B", "b.txt", "approve = true");
    let ran = stage.run(&plan, &["--apply", "auto"]);
    assert_eq!(ran.code, Some(3), "b waits for a person: {}", ran.err);
    let id = stage.ids().remove(0);
    let early = stage.brigade(&["apply", &id]);
    assert!(early.code == Some(2) && early.err.contains("--partial"), "{}", early.err);
    let patch = stage.brigade(&["show", &id, "--patch"]);
    assert!(patch.out.contains("+new") && !patch.out.contains("made"), "{} {}", patch.out, patch.err);
    let taken = stage.brigade(&["apply", &id, "--partial"]);
    assert_eq!((taken.code, taken.out.as_str()), (Some(0), "a.txt\n"), "{}", taken.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "b.txt")), (Some("new\n"), None));
    assert_eq!(stage.brigade(&["undo", &id]).code, Some(0));
    assert_eq!(read(&stage, "a.txt").as_deref(), Some("old\n"));
    assert_eq!(stage.brigade(&["answer", "--all", "--approve"]).code, Some(0));
    let ended = stage.brigade(&["resume", &id]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!((read(&stage, "a.txt").as_deref(), read(&stage, "b.txt").as_deref()), (Some("new\n"), Some("made\n")));
}

#[test]
fn an_edit_that_is_called_simple_and_is_not_goes_to_the_planner() {
    let stage = stage(&[writes("EDIT-A", "a.txt", "1\n2\n3\n4\n5\n6\n")]);
    let ran = stage.run(&writer("a", "EDIT-A", "a.txt", "").replace("\"generate\"", "\"simple_edit\""), &[]);
    let told = ran.err + &stage.brigade(&["show", &stage.ids()[0], "--events", "--json"]).out;
    assert!(told.contains("too_big") && told.contains("changes 6 lines"), "{told}");
}

#[test]
fn rows_and_subtasks_of_like_names_have_views_of_their_own() {
    let stage =
        stage(&[writes("ROW one", "out/one.txt", "one\n"), writes("ROW two", "out/two.txt", "two\n"), writes("MAKE-A", "a.txt", "a\n")]);
    put(&stage, "start.txt", "");
    stage.file("rows.jsonl", "\"one\"\n\"two\"\n");
    let plan = "[[subtasks]]\nid = \"a\"\ntype = \"generate\"\ndescription = \"ROW {{item}}\"\nfor_each = \"input\"\nwrites = [\"out/**\"]\ntools = [\"write_file\"]\n"
        .to_owned()
        + &writer("a--1", "MAKE-A", "a.txt", "");
    let ran = stage.run(&plan, &["--apply", "auto", "--input", "rows.jsonl"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let all = [read(&stage, "out/one.txt"), read(&stage, "out/two.txt"), read(&stage, "a.txt")];
    assert_eq!(all.map(Option::unwrap_or_default), ["one\n", "two\n", "a\n"]);
}

#[test]
fn a_file_that_one_removed_and_another_changed_is_a_conflict_too() {
    let stage = stage(&[
        writes("side by side", "f.txt", "kept\n"),
        does("REMOVE", "run_command", "{ argv = [\"rm\", \"f.txt\"] }"),
        writes("CHANGE", "f.txt", "changed\n"),
    ]);
    put(&stage, "f.txt", "old\n");
    let plan = writer("a", "REMOVE", "f.txt", "").replace("\"write_file\"", "\"run_command\"") + &writer("b", "CHANGE", "f.txt", "");
    let ran = stage.run(&plan, &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("start merge-a-b on flagship"), "{}", ran.err);
    assert_eq!(read(&stage, "f.txt").as_deref(), Some("kept\n"));
}

#[test]
fn the_review_sees_the_patch_that_lands_and_a_revision_of_it() {
    let rules = [
        "[[rule]]\nmatch = { format = \"brigade_review\", contains = \"+second\" }\nreply = { json = { summary = \"good\", verdict = \"approve\", revisions = [], add = [], final_output = \"ok\" } }\n",
        "[[rule]]\nmatch = { format = \"brigade_review\", contains = \"+first\" }\nreply = { json = { summary = \"thin\", verdict = \"revise\", revisions = [{ subtask = \"a\", instructions = \"ONCE-MORE\" }], add = [], final_output = \"\" } }\n",
        &writes("ONCE-MORE", "a.txt", "second\n"),
        &writes("MAKE-A", "a.txt", "first\n"),
    ]
    .concat();
    let stage = Stage::new(&rules);
    put(&stage, "start.txt", "");
    let ran = stage.run(&writer("a", "MAKE-A", "a.txt", ""), &["--apply", "auto"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read(&stage, "a.txt").as_deref(), Some("second\n"));
}
