//! Runs a command on several ranks: mpirun starts this test program again, as the ranks.

use std::process::{self, Stdio};
use std::time::Duration;

use tercet_cluster::connect;
use tercet_configs::Backend;
use tercet_protocol::Command;
use tercet_worker::commands::{encode, eval, index, mine};
use tercet_worker::errors::code_of;

/// The arguments that the ranks get, one a line.
const ARGUMENTS: &str = "TERCET_TEST_COMMAND_ARGUMENTS";

/// Runs `arguments`, split at blanks, on `num_ranks` ranks; exit code and messages, if that was not well.
pub fn run(num_ranks: usize, arguments: &str) -> Result<(), (i32, String)> {
    let output = process::Command::new("mpirun")
        .args(["-n", &num_ranks.to_string(), "--oversubscribe"])
        .arg(std::env::current_exe().unwrap())
        .args(["commands::job::rank_side", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ARGUMENTS, arguments)
        .env("OMP_NUM_THREADS", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("mpirun does not start ({e}): `make setup` installs it (openmpi-bin)"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err((output.status.code().unwrap(), text)) }
}

#[test]
#[ignore = "one rank of the other tests"]
fn rank_side() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let command = Command::parse(arguments.split_whitespace().map(Into::into)).unwrap();
    let ranks = connect(Backend::Auto, false, Duration::from_secs(60)).unwrap();
    let result = match command {
        Command::Encode(args) => encode::run(&args, ranks.as_ref()),
        Command::Eval(args) => eval::run(&args, ranks.as_ref()),
        Command::Index(args) => index::run(&args, ranks.as_ref()),
        Command::Mine(args) => mine::run(&args, ranks.as_ref()),
        other => panic!("no test needs {other:?}"),
    };
    if let Err(error) = result {
        // One write, which mpirun's own words cannot come between: `eprintln` writes piece by piece.
        let line = format!("{error:#}\n");
        eprint!("{line}");
        ranks.abort(code_of(&error).code());
    }
}
