//! WebSockets.
