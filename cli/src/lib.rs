//! The native tool's parts. The binary only parses arguments and calls these; tests call them too.
//!
//! - [`config`]: the one YAML file, as written → as used
//! - [`render`]: the configuration as used → Envoy's bootstrap
//! - [`run`], [`child`]: Envoy as a child: ready, drain, end
//! - [`local`]: the stand-in for Google's services as a process
//! - [`args`], [`commands`]: the command line, and what each command does

pub mod args;
pub mod child;
pub mod commands;
pub mod config;
pub mod local;
pub mod render;
pub mod run;
