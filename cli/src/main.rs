//! `lockgate`: parses the command line and says what went wrong; the work is the library's.

use std::process::ExitCode;

use clap::Parser;
use lockgate::args::Arguments;
use lockgate::commands;
use lockgate::say::{Severity, say};

// One thread: a child bound to its parent is in truth bound to the thread that started it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match commands::execute(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            say(Severity::Error, &error.to_string());
            ExitCode::FAILURE
        }
    }
}
