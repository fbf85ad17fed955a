//! A durable stand-in for the Google services Lockgate uses.
