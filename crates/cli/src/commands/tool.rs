//! `brigade tool`: the tools that executors are given, for a person's own hands. In place: there is no copy and no way back.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use brigade_kernel::tool::{OPEN_OUTPUT, ToolOutput};
use brigade_runtime::hands;
use brigade_tools::sandbox::{Profile, Sandbox};
use brigade_tools::toolbox::MAX_ARGUMENT_BYTES;
use brigade_tools::{Brought, Grant, Toolbox, View, command};

use crate::exit::{Exit, Failure, chain};
use crate::screen::{self, Column, Table};
use crate::wiring;

mod outputs;

use outputs::Outputs;

/// How much of a result is shown: a script can take more than a model.
const OUTPUT_CHARS: usize = 1_000_000;

/// List the built-in tools, or call one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What tools there are
    List {
        /// One JSON array on standard output, argument schemas included
        #[arg(long)]
        json: bool,
    },
    /// Call a tool, in place
    Call {
        /// The tool
        name: String,
        /// Its arguments, a JSON object; `-` reads them from standard input
        #[arg(long, value_name = "JSON|-", allow_hyphen_values = true)]
        args: String,
        /// The workspace
        #[arg(short = 'C', value_name = "DIR", default_value = ".")]
        directory: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// Exit 2 when the workspace cannot be one; whatever the tool itself refuses is printed, and exit 1.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    match &args.what {
        What::List { json } => list(*json),
        What::Call { name, args, directory } => {
            let arguments = arguments(args)?;
            // Four fields: the bytes of an image are for models.
            let output = ToolOutput { images: Vec::new(), ..call(name, &arguments, directory)? };
            screen::print(&screen::json_line(&output));
            Ok(if output.ok { Exit::Done } else { Exit::Failed })
        }
    }
}

fn list(json: bool) -> Result<Exit, Failure> {
    let specs = hands::specs();
    if json {
        screen::print(&screen::json_line(&specs));
        return Ok(Exit::Done);
    }
    let row = |spec: &brigade_kernel::tool::ToolSpec| {
        let fields = spec.parameters.get("properties").and_then(|p| p.as_object());
        let names: Vec<&str> = fields.into_iter().flat_map(|f| f.keys()).map(String::as_str).collect();
        let first = spec.description.split_inclusive(". ").next().unwrap_or_default().trim_end();
        [spec.name.clone(), names.join(", "), first.to_owned()]
    };
    let mut table = Table::new(&["tool", "arguments", "what it does"].map(|heading| (heading, Column::Whole)));
    specs.iter().map(row).for_each(|cells| table.row(cells));
    screen::print(&table.shown());
    Ok(Exit::Done)
}

fn arguments(given: &str) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_ARGUMENT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| Failure::usage("--args -: standard input is not UTF-8, convert it"))
}

fn call(name: &str, arguments: &str, directory: &Path) -> Result<ToolOutput, Failure> {
    let outputs = Outputs::of(&wiring::env());
    match name {
        "ask" => {
            return Ok(ToolOutput::refused("ask puts a question into the inbox of a run (`brigade inbox`); here there is no run to wait"));
        }
        OPEN_OUTPUT => return Ok(outputs.open(arguments)),
        _ => {}
    }
    let view = View::in_place(directory).map_err(|e| Failure::usage(format!("-C {}: {}", directory.display(), chain(&e))))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if name == "run_command" {
            return Ok(outputs.keep(run_command(&view, arguments).await?));
        }
        let mut grant = Grant::whole();
        grant.tools.insert(OPEN_OUTPUT.to_owned());
        Ok(outputs.keep(Toolbox::with_output_chars(OUTPUT_CHARS).call(&view, &grant, name, arguments).await))
    })
}

/// The only tool that starts a process: in the sandbox or not at all.
async fn run_command(view: &View, arguments: &str) -> Result<Brought, Failure> {
    let arguments = match serde_json::from_str(arguments) {
        Ok(arguments) => arguments,
        Err(e) => return Ok(ToolOutput::refused(format!("the arguments are no JSON: {e}")).into()),
    };
    let sandbox = match Sandbox::new(&Profile::from_env()) {
        Ok(sandbox) => sandbox,
        Err(e) => return Ok(ToolOutput::refused(chain(&e)).into()),
    };
    let place = command::Place { view: view.clone(), scratch_dir: None, writable: true };
    Ok(match command::run_command(&sandbox, &place, &arguments).await {
        Ok(ran) => ran.brought(),
        Err(e) => ToolOutput::refused(chain(&e)).into(),
    })
}
