//! Who is asking: passwords, logins, API tokens, and what each may do.
//!
//! Nothing here records anything; users and tokens are events like everything else.

pub mod denied;
pub mod jwt;
pub mod last_used;
pub mod login_limit;
pub mod password;
pub mod principal;
pub mod rate_limit;
pub mod token;
pub mod token_key;
