// The demo relying party: a public client that runs the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636) in the browser, and
// the device authorization grant (RFC 8628) as a device would, checks what comes back (RFC 9207; OpenID Connect Core §3.1.3.7) and shows
// it. Tokens live in this page's memory only.

const root = document.getElementById("demo");
const { issuer, clientId } = root.dataset;
const texts = JSON.parse(root.dataset.texts);
const redirectUri = `${issuer}/demo`;
const element = (id) => document.getElementById(id);

let metadata;
let tokens;

start();

async function start() {
  // Opened under another name of the same machine (127.0.0.1 for localhost): go where the client is registered.
  if (location.origin !== new URL(issuer).origin) return location.replace(redirectUri);

  element("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt("step-authorize", signIn);
  });
  element("refresh").addEventListener("click", () => attempt(null, refresh));
  element("sign-out").addEventListener("click", signOut);
  element("device-begin").addEventListener("click", beDevice);

  if (!(await attempt("step-discovery", discover))) return;
  const answer = new URLSearchParams(location.search);
  history.replaceState(null, "", redirectUri);
  if (!answer.has("state") || !(answer.has("code") || answer.has("error"))) return;

  const begun = await attempt("step-authorize", () => readAnswer(answer));
  if (!begun) return;
  const received = await attempt("step-token", () => exchange(answer.get("code"), begun.verifier));
  if (!received) return;
  await attempt("step-verify", () => accept(received, begun.nonce));
  if (tokens) say(texts.status_signed_in, "good");
}

// Each step of the flow, in order.

async function discover() {
  metadata = await getJson(`${issuer}/.well-known/openid-configuration`);
  if (metadata.issuer !== issuer) throw new Error(`issuer: ${metadata.issuer}`);
  return true;
}

async function signIn() {
  const [state, nonce, verifier] = [random(), random(), random()];
  sessionStorage.setItem(`chancery-demo-${state}`, JSON.stringify({ nonce, verifier }));
  const challenge = base64url(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier)));
  location.assign(
    withParameters(metadata.authorization_endpoint, {
      response_type: "code",
      client_id: clientId,
      redirect_uri: redirectUri,
      scope: element("scope").value.trim(),
      state,
      nonce,
      code_challenge: challenge,
      code_challenge_method: "S256",
      ui_locales: document.documentElement.lang,
    }),
  );
  return true;
}

function readAnswer(answer) {
  const key = `chancery-demo-${answer.get("state")}`;
  const begun = JSON.parse(sessionStorage.getItem(key) ?? "null");
  sessionStorage.removeItem(key);
  if (!begun) throw new Error("state");
  if (answer.get("iss") !== issuer) throw new Error("iss");
  if (answer.has("error")) throw new Error([answer.get("error"), answer.get("error_description")].filter(Boolean).join(": "));
  return begun;
}

const exchange = (code, verifier) =>
  postForm(metadata.token_endpoint, {
    grant_type: "authorization_code",
    client_id: clientId,
    redirect_uri: redirectUri,
    code,
    code_verifier: verifier,
  });

async function refresh() {
  const received = await postForm(metadata.token_endpoint, {
    grant_type: "refresh_token",
    client_id: clientId,
    refresh_token: tokens.refresh_token,
  });
  await accept({ refresh_token: tokens.refresh_token, id_token: tokens.id_token, ...received }, null);
  say(texts.status_refreshed, "good");
  return true;
}

// A device (RFC 8628 §3.1 to §3.5): shows a code, and asks until somebody has decided.
async function beDevice() {
  const tell = (text, kind = "") => Object.assign(element("device-status"), { textContent: text, className: `note ${kind}` });
  element("device-begin").disabled = true;
  try {
    const begun = await postForm(metadata.device_authorization_endpoint, {
      client_id: clientId,
      scope: element("scope").value.trim(),
    });
    element("device-code").textContent = begun.user_code;
    Object.assign(element("device-uri"), { href: begun.verification_uri_complete, textContent: begun.verification_uri });
    element("device-qr").replaceChildren(await drawn(begun.user_code));
    element("device-screen").hidden = false;
    tell(texts.device_waiting);
    const received = await polled(begun, () => tell(texts.device_slower));
    await accept(received, null);
    tell(texts.device_connected, "good");
    say(texts.status_signed_in, "good");
  } catch (error) {
    element("device-screen").hidden = false;
    tell(`${texts.status_failed}: ${error.message}`, "bad");
  }
  element("device-begin").disabled = false;
}

async function polled({ device_code, interval = 5 }, slower) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, interval * 1000));
    try {
      return await postForm(metadata.token_endpoint, {
        grant_type: "urn:ietf:params:oauth:grant-type:device_code",
        client_id: clientId,
        device_code,
      });
    } catch (error) {
      if (error.code === "slow_down") {
        interval += 5;
        slower();
      } else if (error.code !== "authorization_pending") throw error;
    }
  }
}

// The QR code of the address, drawn by the server, as an element of this page.
async function drawn(userCode) {
  const response = await fetch(`${redirectUri}/qr?user_code=${encodeURIComponent(userCode)}`, { credentials: "omit" });
  const svg = new DOMParser().parseFromString(await response.text(), "image/svg+xml").documentElement;
  return document.importNode(svg, true);
}

function signOut() {
  const hint = tokens.id_token ? { id_token_hint: tokens.id_token } : {};
  location.assign(
    withParameters(metadata.end_session_endpoint, { ...hint, client_id: clientId, post_logout_redirect_uri: redirectUri }),
  );
}

// Believes the ID token only after its signature and its claims were checked; then shows everything.
async function accept(received, nonce) {
  const idToken = received.id_token && decode(received.id_token);
  if (idToken) {
    const { iss, aud, exp } = idToken.claims;
    idToken.verified = await verify(idToken);
    if (!idToken.verified) throw new Error(texts.signature_bad);
    if (iss !== issuer) throw new Error(`iss: ${iss}`);
    if (![].concat(aud).includes(clientId)) throw new Error(`aud: ${aud}`);
    if (nonce && exp * 1000 < Date.now()) throw new Error("exp");
    if (nonce && idToken.claims.nonce !== nonce) throw new Error("nonce");
  }
  tokens = received;
  const userinfo = await getJson(metadata.userinfo_endpoint, { Authorization: `Bearer ${tokens.access_token}` }).catch(explain);
  show(idToken, decode(tokens.access_token), userinfo);
  element("signed-in").hidden = false;
  element("sign-in").hidden = true;
  element("refresh").disabled = !tokens.refresh_token;
  return true;
}

// JSON Web Signatures with the browser's own cryptography: the key decides the algorithm, not the token.

const ALGORITHMS = {
  RS256: [{ name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, "RSA"],
  ES256: [{ name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }, "EC"],
  EdDSA: [{ name: "Ed25519" }, "OKP"],
};

async function verify({ header, signed, signature }) {
  const { keys } = await getJson(metadata.jwks_uri);
  const jwk = keys.find((key) => key.kid === header.kid);
  const [algorithm, kty] = ALGORITHMS[jwk?.alg] ?? [];
  if (!algorithm || jwk.alg !== header.alg || jwk.kty !== kty) return false;
  const key = await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["verify"]);
  return crypto.subtle.verify(algorithm, key, bytes(signature), new TextEncoder().encode(signed));
}

// The parts of a JWT; null for a token that is opaque to us.
function decode(token) {
  const parts = token.split(".");
  if (parts.length !== 3) return null;
  try {
    const [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(new TextDecoder().decode(bytes(part))));
    return { header, claims, signed: `${parts[0]}.${parts[1]}`, signature: parts[2] };
  } catch {
    return null;
  }
}

// What the page shows. Text goes in as text, never as HTML.

function show(idToken, accessToken, userinfo) {
  const sections = [];
  if (idToken) {
    const verified = make("p", `${texts.signature_good} ${idToken.header.kid}`, "note good");
    const rows = table({ ...idToken.header, ...idToken.claims });
    sections.push(section(texts.id_token, texts.id_token_lead, [verified, rows, raw(tokens.id_token)]));
  }
  const access = accessToken ? table({ ...accessToken.header, ...accessToken.claims }) : make("p", texts.opaque, "note");
  sections.push(section(texts.access_token, texts.access_token_lead, [access, raw(tokens.access_token)]));
  sections.push(section(texts.userinfo, texts.userinfo_lead, [table(userinfo), raw(JSON.stringify(userinfo, null, 2))]));
  if (tokens.refresh_token) {
    sections.push(section(texts.refresh_token, texts.refresh_token_lead, [raw(tokens.refresh_token)]));
  }
  element("tokens").replaceChildren(...sections);
}

function section(title, lead, content) {
  const out = make("section", "", "token");
  out.append(make("h2", title), make("p", lead, "fine"), ...content);
  return out;
}

function table(claims) {
  const out = document.createElement("table");
  const head = out.createTHead().insertRow();
  for (const title of [texts.column_claim, texts.column_value, texts.column_meaning]) {
    const cell = make("th", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = out.createTBody();
  for (const [name, value] of Object.entries(claims)) {
    const row = body.insertRow();
    const title = make("th", name);
    title.scope = "row";
    row.append(title, valueCell(name, value), make("td", texts.claims[name] ?? texts.unknown_claim));
  }
  return out;
}

function valueCell(name, value) {
  const cell = make("td", typeof value === "string" ? value : JSON.stringify(value));
  if (["exp", "iat", "nbf", "auth_time", "updated_at"].includes(name)) {
    const when = new Date(value * 1000).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "medium" });
    cell.append(make("span", when, "detail"));
  }
  return cell;
}

function raw(text) {
  const out = document.createElement("details");
  out.append(make("summary", texts.raw), make("pre", text));
  return out;
}

function make(name, text, className = "") {
  const out = document.createElement(name);
  out.textContent = text;
  out.className = className;
  return out;
}

function say(text, kind = "") {
  const status = element("status");
  status.textContent = text;
  status.className = `note ${kind}`;
}

// Runs a step; what it returns, or null after showing what went wrong.
async function attempt(step, work) {
  const mark = (name) => step && (element(step).className = name);
  try {
    const result = await work();
    mark("done");
    return result;
  } catch (error) {
    mark("failed");
    say(`${texts.status_failed}: ${error.message}`, "bad");
    return null;
  }
}

// Small tools.

async function getJson(url, headers = {}) {
  return answerOf(await fetch(url, { headers, credentials: "omit" }));
}

async function postForm(url, parameters) {
  return answerOf(await fetch(url, { method: "POST", body: new URLSearchParams(parameters), credentials: "omit" }));
}

async function answerOf(response) {
  const body = await response.json();
  if (response.ok) return body;
  const trace = response.headers.get("Chancery-Trace-Id");
  const parts = [body.error ?? response.status, body.error_description, trace && `(${trace})`];
  throw Object.assign(new Error(parts.filter(Boolean).join(" ")), { code: body.error });
}

const explain = (error) => ({ error: error.message });

function withParameters(endpoint, parameters) {
  const url = new URL(endpoint);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
