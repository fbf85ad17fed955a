//! `finish-module FROM TO`: a module as linked → the module as shipped.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: finish-module FROM TO");
        return ExitCode::FAILURE;
    };
    let finished = std::fs::read(&from)
        .map_err(finish_module::Error::from)
        .and_then(|module| finish_module::finish(&module))
        .and_then(|module| Ok(std::fs::write(&to, module)?));
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", from.display());
            ExitCode::FAILURE
        }
    }
}
