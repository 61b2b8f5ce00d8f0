//! Style sheet, script, icons: embedded in the binary and served under `/assets/` by names that carry a hash of their content, so
//! that a browser may keep them for ever and a new version has a new name. What lies there compressed is served as it lies.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// One embedded file.
struct Asset {
    /// As the templates name it: `chancery.css`.
    name: String,
    /// As the browser asks for it: `chancery.0123456789abcdef.css`.
    hashed_name: String,
    content_type: &'static str,
    /// Whether the bytes are those of a gzip file, which every browser takes.
    gzip: bool,
    etag: HeaderValue,
    body: Bytes,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| Files::iter().filter_map(|name| load(&name)).collect());

/// The URL path of an asset below the issuer's path `base`; the plain name if there is no such asset.
pub fn url(base: &str, name: &str) -> String {
    let hashed = ASSETS.iter().find(|asset| asset.name == name).map_or(name, |asset| &asset.hashed_name);
    format!("{base}/assets/{hashed}")
}

/// Answers `GET {issuer}/assets/{file}`; `None` if there is no such file.
pub fn respond(file: &str, request: &HeaderMap) -> Option<Response> {
    let asset = ASSETS.iter().find(|asset| asset.hashed_name == file)?;
    Some(answer(asset, request, "public, max-age=31536000, immutable"))
}

/// Answers `GET /favicon.ico` at the origin's root, where browsers look for it: a name without a hash, so kept for a day.
pub fn favicon(request: &HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == "favicon.ico") {
        Some(asset) => answer(asset, request, "public, max-age=86400"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(asset: &Asset, request: &HeaderMap, caching: &'static str) -> Response {
    let known = request.get_all(IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default();
        let etag = asset.etag.to_str().unwrap_or_default();
        tags.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
    });
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { (StatusCode::OK, asset.body.clone()).into_response() };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if asset.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(ETAG, asset.etag.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn load(name: &str) -> Option<Asset> {
    let (plain, gzip) = name.strip_suffix(".gz").map_or((name, false), |plain| (plain, true));
    let file_name = plain.rsplit('/').next()?;
    let (stem, extension) = file_name.rsplit_once('.')?;
    let content_type = match extension {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        _ => return None,
    };
    let file = Files::get(name)?;
    let hash: String = file.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // Neither copied nor read before somebody asks.
    let body = match file.data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => Bytes::from(read),
    };
    let etag = HeaderValue::try_from(format!("\"{hash}\"")).ok()?;
    Some(Asset { name: file_name.to_owned(), hashed_name: format!("{stem}.{hash}.{extension}"), content_type, gzip, etag, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_served_by_its_hashed_name_alone_and_kept_for_ever() {
        let path = url("/auth", "chancery.css");
        let file = path.strip_prefix("/auth/assets/").unwrap();
        assert_ne!(file, "chancery.css");
        let response = respond(file, &HeaderMap::new()).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/css; charset=utf-8");
        assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert!(respond("chancery.css", &HeaderMap::new()).is_none());
        assert!(respond("../Cargo.toml", &HeaderMap::new()).is_none());

        let mut again = HeaderMap::new();
        again.insert(IF_NONE_MATCH, response.headers()[ETAG].clone());
        assert_eq!(respond(file, &again).unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn what_lies_compressed_says_so_and_nothing_beside_it_is_served() {
        let answer = |name: &str| respond(url("", name).strip_prefix("/assets/").unwrap(), &HeaderMap::new());
        let script = answer("swagger-ui-bundle.js").unwrap();
        assert_eq!(script.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(script.headers()[CONTENT_ENCODING], "gzip");
        assert!(!answer("chancery.css").unwrap().headers().contains_key(CONTENT_ENCODING));
        assert!(answer("renew").is_none());
        assert!(answer("LICENSE").is_none());
    }

    #[test]
    fn every_asset_that_a_page_names_exists() {
        let ours = ["chancery.css", "demo.js", "passkey.js", "reference.css", "reference.js", "favicon.svg", "favicon.ico"];
        for name in ours.into_iter().chain(["swagger-ui-bundle.js", "swagger-ui.css"]) {
            assert!(url("", name).len() > "/assets/".len() + name.len(), "{name}");
        }
    }
}
