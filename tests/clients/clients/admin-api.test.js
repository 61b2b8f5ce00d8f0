// docs/admin-api.md as it stands: its commands in a shell, one after the other, against the real binary.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { Server } from '../support/server.js'

const text = readFileSync(new URL('../../../docs/admin-api.md', import.meta.url), 'utf8')
const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1])

test('what the documentation says can be pasted', async () => {
  const server = await Server.start()
  try {
    assert.ok(blocks.length >= 5)
    const script = [
      'chancery() { command "$CHANCERY_TEST_BINARY" "$@" --config "$CONFIG"; }',
      // A refusal ends the script.
      'curl() { command curl --silent --show-error --fail-with-body "$@"; }',
      ...blocks.map((block) => block.replace('ISSUER=http://localhost:8080', `ISSUER=${server.issuer}`)),
      'echo && echo "the end"',
    ].join('\n')
    const env = { ...process.env, CONFIG: server.file }
    const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script], { cwd: server.folder, env, encoding: 'utf8', timeout: 60_000 })
    assert.equal(done.status, 0, `${done.stdout}\n${done.stderr}`)
    assert.match(done.stdout, /the end\n$/)
    assert.doesNotMatch(done.stdout, /urn:chancery:problem/)
    assert.match(done.stdout, /"client_secret":/)
    assert.match(done.stdout, /"rotations":/)
  } finally {
    await server.stop()
  }
})
