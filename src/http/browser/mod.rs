//! The pages that people see, as handlers: read the request, ask a service, render a view. The words and the look are in `pages`.

pub mod account;
pub mod authorize;
pub mod consent;
pub mod context;
pub mod demo;
pub mod device;
pub mod enrol;
pub mod error_page;
pub mod factors;
pub mod login;
pub mod logo;
pub mod logout;
pub mod second_factor;
pub mod select_account;

pub use context::Context;

/// Where the pages are, below the issuer's path. The protocol's own endpoints are in [`crate::oauth::endpoint`].
pub mod paths {
    pub const LOGIN: &str = "/login";
    pub const SELECT_ACCOUNT: &str = "/select-account";
    pub const CONSENT: &str = "/consent";
    pub const ACCOUNT: &str = "/account";
    pub const ACCOUNT_PROFILE: &str = "/account/profile";
    pub const ACCOUNT_PASSWORD: &str = "/account/password";
    /// At the origin's root.
    pub const CHANGE_PASSWORD: &str = "/.well-known/change-password";
    pub const ACCOUNT_CONFIRM: &str = "/account/confirm";
    pub const DEVICE: &str = "/device";
    /// A second factor is proved here.
    pub const SECOND_FACTOR: &str = "/second-factor";
    /// An authenticator app is enrolled here.
    pub const ENROL: &str = "/second-factor/enrol";
    /// One's own second factors.
    pub const FACTORS: &str = "/account/factors";
    /// Below it every client has its picture.
    pub const LOGO: &str = "/logo";
    pub const DEMO: &str = "/demo";
    pub const DEMO_QR: &str = "/demo/qr";
    /// Below it every asset has its name with a hash of its content.
    pub const ASSETS: &str = "/assets";
}
