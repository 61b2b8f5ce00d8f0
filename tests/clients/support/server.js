// The real binary, started as an operator would start it: a folder of its own, free ports, users and clients by the command line.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const binary = process.env.CHANCERY_TEST_BINARY
if (!binary) throw new Error('CHANCERY_TEST_BINARY must name the chancery binary; ./test sets it')

let asked = 0

/** A TCP port that nobody listens on, that is given to nobody else here, and that the kernel gives to nobody who asks for any port or connects somewhere. */
export async function freePort() {
  const lowest = 20_000
  const ours = givenAway() - lowest
  for (let tries = 0; tries < ours; tries++) {
    // Other processes of tests begin elsewhere.
    const port = lowest + ((process.pid * 613 + asked++) % ours)
    if (await bound(port).catch(() => false)) return port
  }
  return bound(0)
}

/** Where the ports begin that the kernel gives away. */
function givenAway() {
  try {
    return Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/)[0])
  } catch {
    return 32_768
  }
}

/** Binds this port for a moment. */
function bound(wanted) {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(wanted, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

/** Waits until `ready()` is true, at most `seconds`. */
export async function until(what, ready, seconds = 20) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    try {
      if (await ready()) return
    } catch {
      // Not up yet.
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`)
    await sleep(25)
  }
}

export const ALICE = {
  username: 'alice',
  password: 'correct horse battery staple',
  name: 'Alice Liddell',
  given_name: 'Alice',
  family_name: 'Liddell',
  email: 'alice@example.com',
  email_verified: true,
}

/** A running `chancery serve` with the user alice. */
export class Server {
  /** `config` is extra TOML; `issuerPath` puts the issuer below a path, `issuer` behind something else. */
  static async start({ config = '', issuerPath = '', issuer, command = ['serve'] } = {}) {
    const server = new Server()
    server.folder = mkdtempSync(join(tmpdir(), 'chancery-test-'))
    const [port, management] = [await freePort(), await freePort()]
    server.origin = `http://localhost:${port}`
    server.issuer = issuer ?? server.origin + issuerPath
    server.management = `http://127.0.0.1:${management}`
    server.file = join(server.folder, 'chancery.toml')
    writeFileSync(
      server.file,
      `[server]
issuer = "${server.issuer}"
listen = "127.0.0.1:${port}"
management_listen = "127.0.0.1:${management}"
data_dir = "${server.folder}/data"

[passwords]
memory_kib = 64
iterations = 1
${config}`,
      { mode: 0o600 },
    )
    server.output = ''
    server.child = spawn(binary, [...command, '--config', server.file], { cwd: server.folder, stdio: ['ignore', 'pipe', 'pipe'] })
    server.exited = new Promise((resolve) => server.child.once('exit', (code, signal) => resolve({ code, signal })))
    for (const stream of [server.child.stdout, server.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (server.output += text))
    }
    try {
      await until('the server', async () => {
        if (server.child.exitCode !== null) return true
        return (await fetch(`${server.origin}/readyz`)).ok
      })
      if (server.child.exitCode !== null) throw new Error(`the server ended with ${server.child.exitCode}:\n${server.output}`)
    } catch (error) {
      await server.stop()
      throw new Error(`${error.message}\n${server.output}`)
    }
    return server
  }

  /** A `chancery` command on this server's configuration; its standard output, parsed when it is JSON. */
  command(...words) {
    const done = spawnSync(binary, [...words, '--config', this.file], { cwd: this.folder, encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`chancery ${words.join(' ')}: exit ${done.status}\n${done.stdout}${done.stderr}`)
    return words.includes('--json') ? JSON.parse(done.stdout) : done.stdout
  }

  #file(kind, content) {
    this.count = (this.count ?? 0) + 1
    const path = join(this.folder, `${kind}-${this.count}.json`)
    writeFileSync(path, JSON.stringify(content), { mode: 0o600 })
    return path
  }

  addUser(user = ALICE) {
    return this.command('user', 'add', '--file', this.#file('user', user), '--json')
  }

  /** Takes a person's password away, as if they had been added without one: there is no command for it. */
  forgetPassword(username) {
    // Older SQLite libraries do not know a function of the schema.
    const script = `import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10)
octets = lambda value: None if value is None else len(value if isinstance(value, bytes) else str(value).encode())
db.create_function("octet_length", 1, octets, deterministic=True)
db.execute("UPDATE users SET password_hash = NULL WHERE username = ?", sys.argv[2:])
db.commit()`
    const done = spawnSync('python3', ['-c', script, join(this.folder, 'data', 'chancery.db'), username], { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`python3: ${done.error ?? done.stderr}`)
  }

  /** RFC 7591 metadata in, the same with client_id and client_secret out. */
  addClient(metadata) {
    return this.command('client', 'add', '--file', this.#file('client', metadata), '--json')
  }

  addResource(resource) {
    return this.command('resource', 'add', '--file', this.#file('resource', resource), '--json')
  }

  /** Ends the server as an orchestrator would and says how it ended. */
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 15_000)
    const ended = await this.exited
    clearTimeout(timer)
    rmSync(this.folder, { recursive: true, force: true })
    return ended
  }
}
