// Passkeys: the one thing on these pages that the platform offers to scripts alone. Without it, or without this script, every page
// works with passwords and codes. The answer of the authenticator travels in the page's own form.

const form = document.querySelector('form[data-rp-id]')
const button = document.querySelector('[data-passkey]')

const bytes = (text) => Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (letter) => letter.charCodeAt(0))
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
const keys = (list) => (list ? list.split(' ').map((id) => ({ type: 'public-key', id: bytes(id) })) : [])

// Its middle part is what the authenticator signs; the rest is between this page and the server.
const challenge = () => bytes(form.querySelector('input[name=challenge]').value.split('.')[1])

function send(answer) {
  const field = (name, value) => {
    let input = form.querySelector(`input[type=hidden][name=${name}]`)
    if (!input) form.append((input = Object.assign(document.createElement('input'), { type: 'hidden', name })))
    input.value = value
  }
  field('passkey', JSON.stringify(answer))
  if (button.dataset.passkey === 'create') field('change', 'add_passkey')
  // Past the fields that are required for the other ways to sign in.
  HTMLFormElement.prototype.submit.call(form)
}

async function use(more) {
  const { response, rawId } = await navigator.credentials.get({
    publicKey: {
      challenge: challenge(),
      rpId: form.dataset.rpId,
      allowCredentials: keys(form.dataset.allow),
      userVerification: form.dataset.verification,
    },
    ...more,
  })
  send({
    id: text(rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.authenticatorData),
    signature: text(response.signature),
  })
}

async function create() {
  const { response } = await navigator.credentials.create({
    publicKey: {
      challenge: challenge(),
      rp: { id: form.dataset.rpId, name: form.dataset.rpName },
      user: { id: bytes(form.dataset.userId), name: form.dataset.userName, displayName: form.dataset.userDisplayName },
      pubKeyCredParams: form.dataset.algorithms.split(' ').map((alg) => ({ type: 'public-key', alg: Number(alg) })),
      excludeCredentials: keys(form.dataset.exclude),
      authenticatorSelection: { residentKey: 'preferred', userVerification: 'preferred' },
      attestation: 'none',
    },
  })
  send({
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.getAuthenticatorData()),
    public_key: text(response.getPublicKey()),
    algorithm: response.getPublicKeyAlgorithm(),
  })
}

if (form && button && window.PublicKeyCredential) {
  const failed = document.querySelector('#passkey-failed')
  let offered
  button.hidden = false
  button.addEventListener('click', async () => {
    offered?.abort()
    failed.hidden = true
    try {
      await (button.dataset.passkey === 'create' ? create() : use({}))
    } catch {
      // Cancelled, taken too long, or not known here: the browser has said why.
      failed.hidden = false
    }
  })
  // On the sign-in page the browser offers passkeys where it offers usernames.
  const username = form.querySelector('input[name=username]')
  if (username && (await PublicKeyCredential.isConditionalMediationAvailable?.())) {
    username.autocomplete = 'username webauthn'
    offered = new AbortController()
    use({ mediation: 'conditional', signal: offered.signal }).catch(() => {})
  }
}
