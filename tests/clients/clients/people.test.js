// docs/users-and-groups.md and docs/audit.md as they stand: their commands in a shell, one after the other, against the real binary.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { Server } from '../support/server.js'

const blocks = (page) => [...readFileSync(new URL(`../../../docs/${page}`, import.meta.url), 'utf8').matchAll(/^```sh\n(.*?)^```/gms)].map((match) => match[1])

// What the pages take for granted: a token for the admin API (docs/admin-api.md), an API and a client.
const before = `
chancery() { command "$CHANCERY_TEST_BINARY" "$@" --config "$CONFIG"; }
secret=$(echo '{"grant_types": ["client_credentials"], "scope": "admin:write"}' | chancery client add --file - --json)
TOKEN=$(command curl -sSf -u "$(echo "$secret" | jq -r '.client_id + ":" + .client_secret')" -d grant_type=client_credentials "$ISSUER/token" | jq -r .access_token)
echo '{"identifier": "https://api.example.com", "name": "Orders", "scopes": [{"name": "orders:read"}]}' | chancery resource add --file -
CLIENT_ID=$(echo '{"redirect_uris": ["https://shop.example/cb"]}' | chancery client add --file - --json | jq -r .client_id)
`

test('what the pages about people and the audit log say can be pasted', async () => {
  const server = await Server.start()
  try {
    const people = blocks('users-and-groups.md').map((block) => block.replaceAll('client update CLIENT_ID', 'client update "$CLIENT_ID"'))
    const audit = blocks('audit.md')
    assert.ok(people.length >= 4 && audit.length >= 3)
    const script = [before, ...people, ...audit, 'wc -l < audit-2026-11-20.jsonl', 'echo "the end"'].join('\n')
    const env = { ...process.env, CONFIG: server.file, ISSUER: server.issuer }
    const done = spawnSync('bash', ['-euo', 'pipefail', '-c', script], { cwd: server.folder, env, encoding: 'utf8', timeout: 60_000 })
    assert.equal(done.status, 0, `${done.stdout}\n${done.stderr}`)
    assert.match(done.stdout, /the end\n$/)
    assert.doesNotMatch(done.stdout, /urn:chancery:problem/)
    assert.match(done.stdout, /"action":"group\.remove"/)
    assert.match(done.stdout, /"mend":/)
  } finally {
    await server.stop()
  }
})
