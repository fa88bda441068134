import { describe, expect, it } from 'vitest'
import type { Event } from '../../src/api/types'
import { filterOf, isWanted } from '../../src/pages/events/filter'
import { check, hex, leafHash, rootOf, unhex } from '../../src/pages/events/merkle'
import { brief } from '../../src/pages/events/words'

// The test vectors that Certificate Transparency publishes.
const INPUTS = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const ROOTS: Record<number, string> = {
  1: '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  3: 'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  8: '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
}
const PATHS: [index: number, size: number, path: string[]][] = [
  [0, 1, []],
  [0, 8, ['96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7', '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e', '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4']],
  [5, 8, ['bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b', 'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0', 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7']],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
]

const record = (index: number): Uint8Array => unhex(INPUTS[index] ?? '')

describe('an inclusion proof', () => {
  for (const [index, size, path] of PATHS) {
    it(`of leaf ${index} in a tree of ${size} leads to the published root, and to no other when anything is changed`, async () => {
      const leaf = await leafHash(record(index))
      const root = async (at: number, of: number, by: readonly string[]) => {
        const found = await rootOf(leaf, at, of, by.map(unhex))
        return found && hex(found)
      }
      expect(await root(index, size, path)).toBe(ROOTS[size])
      expect(await root(index, size, [...path, ROOTS[1] ?? ''])).toBeUndefined()
      expect(await root(index + 1, size, path)).not.toBe(ROOTS[size])
      if (path.length > 0) {
        expect(await root(index, size, path.slice(1))).toBeUndefined()
        expect(await root(index, size, [ROOTS[1] ?? '', ...path.slice(1)])).not.toBe(ROOTS[size])
      }
    })
  }

  it('holds for its own bytes, its own place and its own checkpoint alone', async () => {
    const [index, size, path] = PATHS[2] ?? [0, 0, []]
    const root = ROOTS[8] ?? ''
    const checkpoint = { origin: 'o', tree_size: size, root_hash: root, note: '', public_key: '' }
    const proof = { tree_size: size, leaf_index: index, leaf_hash: hex(await leafHash(record(index))), inclusion_path: path, root_hash: root, checkpoint }
    expect(await check(record(index), index + 1, proof)).toEqual({ leaf: true, root: true, checkpoint: true })
    expect(await check(record(index - 1), index + 1, proof)).toEqual({ leaf: false, root: false, checkpoint: true })
    expect((await check(record(index), index, proof)).leaf).toBe(false)
    expect((await check(record(index), index + 1, { ...proof, checkpoint: { ...checkpoint, tree_size: 9 } })).checkpoint).toBe(false)
  })

  it('reaches beyond 32 bits', async () => {
    const leaf = await leafHash(record(0))
    const size = 2 ** 40
    const path = Array.from({ length: 40 }, () => leaf)
    expect(await rootOf(leaf, 2 ** 39 + 5, size, path)).toBeDefined()
    expect(await rootOf(leaf, 2 ** 39 + 5, size, path.slice(1))).toBeUndefined()
  })
})

const event = (more: Partial<Event>): Event => ({
  seq: 1, id: 'i', at: '2026-01-01T00:00:00Z', kind: 'tenant.updated', actor: { type: 'user', id: 'u', name: 'admin' },
  tenant_id: 't', instance: null, command_id: 'c', caused_by: null, data: {}, ...more,
})

describe('the filter', () => {
  it('is what the address says, and nothing that is empty or unknown', () => {
    expect(filterOf(new URLSearchParams('kind=tenant.&actor=&as_of=5&other=1'))).toEqual({ kind: 'tenant.' })
  })

  it('takes of what comes live what the API would', () => {
    expect(isWanted(event({}), {})).toBe(true)
    expect(isWanted(event({}), { kind: 'tenant.', tenant_id: 't', actor: 'u', since: '1h' })).toBe(true)
    for (const other of [{ kind: 'deployment.' }, { tenant_id: 'x' }, { instance: 'api:one' }, { actor: 'x' }, { until: '2020-01-01T00:00:00Z' }]) {
      expect(isWanted(event({}), other)).toBe(false)
    }
  })
})

describe('data in a few words', () => {
  it('leaves out ids and what is not there, and cuts what is long', () => {
    const told = brief(event({ data: { tenant_id: 'x', step: 'clone_repo', outcome: null, detail: 'x'.repeat(100) } }))
    expect(told).toBe(`step clone_repo, detail ${'x'.repeat(60)}…`)
  })
})
