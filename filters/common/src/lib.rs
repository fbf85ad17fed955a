//! What two Lockgate filters or more share: the host, the flow, shared fetches, JSON, tokens, the envelope.
