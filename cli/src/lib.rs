//! The native tool: render, run, local, dev, replay.
