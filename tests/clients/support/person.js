// A person with a browser without JavaScript: a cookie jar, links, and forms filled in as they stand on the page.

/** The attributes of one HTML start tag. */
function attributes(tag) {
  const found = {}
  for (const [, name, , value] of tag.matchAll(/([a-zA-Z-]+)(=("[^"]*"|'[^']*'|[^\s"'>]+))?/g)) {
    if (value === undefined) found[name.toLowerCase()] = ''
    else found[name.toLowerCase()] = decode(/^["']/.test(value) ? value.slice(1, -1) : value)
  }
  return found
}

function decode(text) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return text.replace(/&(#x?[0-9a-fA-F]+|[a-z]+);/g, (all, name) => {
    if (name.startsWith('#x')) return String.fromCodePoint(parseInt(name.slice(2), 16))
    if (name.startsWith('#')) return String.fromCodePoint(parseInt(name.slice(1), 10))
    return named[name] ?? all
  })
}

/** The primary form of a page: where it goes, and what it carries before anybody types. */
export function formOf(html, base) {
  const main = /<main[\s>][\s\S]*<\/main>/i.exec(html)?.[0]
  const form = /<form[\s>][\s\S]*?<\/form>/i.exec(main ?? '')?.[0]
  if (!form) throw new Error(`no form on the page:\n${html.slice(0, 2000)}`)
  const { action = '', method = 'get' } = attributes(/<form[^>]*>/i.exec(form)[0].slice(5))
  const fields = new URLSearchParams()
  for (const [tag] of form.matchAll(/<input[^>]*>/gi)) {
    const { name, value = '', type = 'text' } = attributes(tag.slice(6))
    if (name && !['submit', 'button'].includes(type)) fields.append(name, value)
  }
  return { action: new URL(action || base, base).href, method: method.toLowerCase(), fields }
}

/** Whether an attribute of a cookie says that it is over. */
function expired(attribute) {
  const [, date] = /^\s*expires=(.*)$/i.exec(attribute) ?? []
  return date !== undefined && Date.parse(date) <= Date.now()
}

/** Signs in and answers the pages that the server shows. */
export class Person {
  constructor({ username, password }) {
    this.username = username
    this.password = password
    this.jar = new Map()
    this.seen = []
  }

  async #send(url, init = {}) {
    const cookie = [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, ...(cookie && { cookie }) } })
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...rest] = line.split(';')
      const at = pair.indexOf('=')
      const name = pair.slice(0, at).trim()
      if (rest.some((part) => /^\s*max-age=0\s*$/i.test(part) || expired(part))) this.jar.delete(name)
      else this.jar.set(name, pair.slice(at + 1).trim())
    }
    return response
  }

  /**
   * Opens `url` and goes on, page after page, until the browser would leave for `destination`.
   * Answers with that last URL, or with the last page when nothing is left to do.
   */
  open(url, options) {
    return this.#go({ url: String(url) }, options)
  }

  /** The same, beginning with a form of `url` itself. */
  post(url, fields, options) {
    return this.#go({ url: String(url), init: { method: 'POST', body: new URLSearchParams(fields) } }, options)
  }

  async #go(next, { destination, decision = 'allow' }) {
    for (let step = 0; step < 12; step++) {
      const { origin } = new URL(next.url)
      const response = await this.#send(next.url, next.init)
      const location = response.headers.get('location')
      if (location) {
        const target = new URL(location, next.url).href
        await response.body?.cancel()
        if (destination && target.startsWith(destination)) return new URL(target)
        next = { url: target }
        continue
      }
      const html = await response.text()
      const page = { status: response.status, url: next.url, html, headers: response.headers }
      if (!/<main[\s>][\s\S]*<form[\s>]/i.test(html)) return page
      const form = formOf(html, next.url)
      if (destination && form.action.startsWith(destination)) return { ...page, form }
      if (form.fields.has('username')) {
        this.seen.push('login')
        form.fields.set('username', this.username)
        form.fields.set('password', this.password)
      } else if (/name="decision"/.test(html)) {
        this.seen.push('decision')
        form.fields.set('decision', decision)
      } else {
        return page
      }
      next = {
        url: form.action,
        init: { method: 'POST', body: form.fields, headers: { origin, 'sec-fetch-site': 'same-origin' } },
      }
    }
    throw new Error(`the pages never end; the last one was ${next.url}`)
  }
}
