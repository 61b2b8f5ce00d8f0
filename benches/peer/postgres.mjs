// An adapter of node-oidc-provider for PostgreSQL: one row for each artefact, one prepared statement for each thing that is done to it.

import pg from 'pg'

const TABLE = `
CREATE TABLE IF NOT EXISTS artefacts (
    model       TEXT NOT NULL,
    id          TEXT NOT NULL,
    payload     TEXT NOT NULL,
    grant_id    TEXT,
    uid         TEXT,
    user_code   TEXT,
    consumed_at BIGINT,
    expires_at  BIGINT,
    PRIMARY KEY (model, id)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS artefacts_grant ON artefacts (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS artefacts_uid ON artefacts (uid) WHERE uid IS NOT NULL;
CREATE INDEX IF NOT EXISTS artefacts_user_code ON artefacts (user_code) WHERE user_code IS NOT NULL;
CREATE INDEX IF NOT EXISTS artefacts_sweep ON artefacts (expires_at)`

const UPSERT = `
INSERT INTO artefacts (model, id, payload, grant_id, uid, user_code, consumed_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (model, id) DO UPDATE SET payload = excluded.payload, grant_id = excluded.grant_id, uid = excluded.uid,
    user_code = excluded.user_code, consumed_at = excluded.consumed_at, expires_at = excluded.expires_at`

const seconds = () => Math.floor(Date.now() / 1000)

/** A pool on a socket folder or an address, as libpq URLs name it. */
function open(url, max) {
  const { pathname, searchParams, username } = new URL(url)
  return new pg.Pool({ host: searchParams.get('host'), database: pathname.slice(1), user: username, max })
}

export async function migrate(url) {
  const pool = open(url, 1)
  await pool.query(TABLE)
  await pool.end()
}

export function adapter(url) {
  const pool = open(url, 16)
  const query = (name, text, values) => pool.query({ name, text, values })

  return class {
    constructor(model) {
      this.model = model
    }

    async upsert(id, payload, expiresIn) {
      const { grantId, uid, userCode, consumed } = payload
      const expiresAt = expiresIn ? seconds() + expiresIn : null
      const values = [this.model, id, JSON.stringify(payload), grantId ?? null, this.model === 'Session' ? uid : null, userCode ?? null, consumed ?? null, expiresAt]
      await query('upsert', UPSERT, values)
    }

    find(id) {
      return this.one('find', 'SELECT payload, consumed_at, expires_at FROM artefacts WHERE model = $1 AND id = $2', id)
    }

    findByUid(uid) {
      return this.one('find-uid', 'SELECT payload, consumed_at, expires_at FROM artefacts WHERE model = $1 AND uid = $2', uid)
    }

    findByUserCode(userCode) {
      return this.one('find-user-code', 'SELECT payload, consumed_at, expires_at FROM artefacts WHERE model = $1 AND user_code = $2', userCode)
    }

    async consume(id) {
      await query('consume', 'UPDATE artefacts SET consumed_at = $3 WHERE model = $1 AND id = $2', [this.model, id, seconds()])
    }

    async destroy(id) {
      await query('destroy', 'DELETE FROM artefacts WHERE model = $1 AND id = $2', [this.model, id])
    }

    async revokeByGrantId(grantId) {
      await query('revoke', 'DELETE FROM artefacts WHERE grant_id = $1', [grantId])
    }

    async one(name, text, key) {
      const { rows: [row] } = await query(name, text, [this.model, key])
      if (!row || (row.expires_at && Number(row.expires_at) <= seconds())) return undefined
      const payload = JSON.parse(row.payload)
      return row.consumed_at ? { ...payload, consumed: Number(row.consumed_at) } : payload
    }
  }
}
