//! The examples of the RFCs, as tests: RFC 7515 A.2, A.3, A.5 and 4.1.11, RFC 7519 3.1 and 6.1, RFC 7638 3.1, RFC 8037 A.

use aws_lc_rs::signature::Ed25519KeyPair;

use super::{Alg, PublicJwk, base64url, header, strict_json};

/// RFC 7515 A.2.1: `{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}`.
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn jwk(json: &str) -> PublicJwk {
    serde_json::from_str(json).unwrap()
}

/// Reads the token strictly and verifies it with the key.
fn verifies(jwt: &str, key: &PublicJwk) -> bool {
    let token = header::read(jwt).unwrap();
    let key = key.parse(Alg::from_name(&token.alg).unwrap()).unwrap();
    key.verifies(token.signing_input.as_bytes(), &token.signature)
}

/// The same token with the last character of the payload's middle changed.
fn changed(jwt: &str) -> String {
    jwt.replacen("FtcGxl", "FtcGxm", 1).replacen("RXhh", "RXhi", 1)
}

#[test]
fn rfc_7515_a2_rs256() {
    let key = jwk(concat!(
        r#"{"kty":"RSA","n":""#,
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs",
        "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV",
        "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        r#"","e":"AQAB"}"#
    ));
    let signature = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ",
        "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e",
        "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{signature}");
    assert!(verifies(&jwt, &key));
    assert_ne!(changed(&jwt), jwt);
    assert!(!verifies(&changed(&jwt), &key));
    let claims = strict_json::object(&header::read(&jwt).unwrap().payload).unwrap();
    assert_eq!((&claims["iss"], &claims["exp"]), (&"joe".into(), &1_300_819_380.into()));
}

#[test]
fn rfc_7515_a3_es256() {
    let key = jwk(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    );
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jwt = format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{signature}");
    assert!(verifies(&jwt, &key));
    assert!(!verifies(&changed(&jwt), &key));
}

#[test]
fn rfc_7515_a5_an_unsecured_token_is_refused() {
    assert!(header::read(&format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.")).is_err());
    // RFC 7519 §6.1, the same with a signature made up.
    assert!(header::read(&format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.AAAA")).is_err());
}

#[test]
fn rfc_7515_appendix_e_a_critical_extension_is_refused() {
    let header = r#"{"alg":"RS256","crit":["http://example.invalid/UNDEFINED"],"http://example.invalid/UNDEFINED":true}"#;
    let jwt = format!("{}.{}.AAAA", base64url::encode(header.as_bytes()), base64url::encode(b"FAIL"));
    assert!(header::read(&jwt).unwrap_err().contains("crit"));
}

#[test]
fn rfc_7519_section_3_1_is_read() {
    let jwt = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let token = header::read(&jwt).unwrap();
    assert_eq!((token.typ.as_deref(), token.alg.as_str()), (Some("JWT"), "HS256"));
    assert!(super::Alg::from_name(&token.alg).is_none());
}

#[test]
fn rfc_7638_section_3_1_thumbprint() {
    let key = jwk(concat!(
        r#"{"kty":"RSA","e":"AQAB","n":""#,
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst",
        "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajr",
        "n1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        r#""}"#
    ));
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn rfc_8037_appendix_a_ed25519() {
    let key = jwk(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let seed = base64url::decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    assert_eq!(base64url::encode(pair.sign(input.as_bytes()).as_ref()), signature);
    let jwt = format!("{input}.{signature}");
    assert!(verifies(&jwt, &key));
    assert!(!verifies(&changed(&jwt), &key));
}

#[test]
fn unsound_public_keys_are_not_parsed() {
    for bad in [
        r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#,
        r#"{"kty":"EC","crv":"P-384","x":"AQ","y":"AQ"}"#,
        // Not on the curve.
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}"#,
        r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"OKP","crv":"Ed25519","x":"AQ"}"#,
        r#"{"kty":"RSA","n":"","e":"AQAB"}"#,
    ] {
        assert!(Alg::ALL.into_iter().all(|alg| jwk(bad).parse(alg).is_none()), "{bad}");
    }
    // Private members and symmetric keys have no place in a public key.
    assert!(serde_json::from_str::<PublicJwk>(r#"{"kty":"OKP","crv":"Ed25519","x":"AQ","d":"AQ"}"#).is_err());
    assert!(serde_json::from_str::<PublicJwk>(r#"{"kty":"oct","k":"AQ"}"#).is_err());
}
