// Proofs that an event is in the journal, checked here and not believed: RFC 9162, sections 2.1.1 and 2.1.3.2, with the
// browser's own SHA-256.
import type { InclusionProof } from '../../api/types'

const LEAF = 0
const NODE = 1

export const isPossible = (): boolean => globalThis.crypto?.subtle !== undefined

export const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

export function unhex(text: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new Error('not hexadecimal')
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}

async function hash(...parts: Uint8Array[]): Promise<Uint8Array> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', whole))
}

export const leafHash = (record: Uint8Array): Promise<Uint8Array> => hash(Uint8Array.of(LEAF), record)

/** The root that a leaf and its path lead to; undefined when the path does not fit the tree. Places may exceed 32 bits. */
export async function rootOf(leaf: Uint8Array, index: number, size: number, path: readonly Uint8Array[]): Promise<Uint8Array | undefined> {
  if (index < 0 || index >= size) return undefined
  let [fn, sn, root] = [index, size - 1, leaf]
  const half = (number: number): number => Math.floor(number / 2)
  for (const sibling of path) {
    if (sn === 0) return undefined
    if (fn % 2 === 1 || fn === sn) {
      root = await hash(Uint8Array.of(NODE), sibling, root)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      root = await hash(Uint8Array.of(NODE), root, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 ? root : undefined
}

export type Verdict = { leaf: boolean; root: boolean; checkpoint: boolean }

/** Whether the bytes are what the proof speaks of, lead to its root, and the checkpoint speaks of that root. */
export async function check(record: Uint8Array, seq: number, proof: InclusionProof): Promise<Verdict> {
  const leaf = await leafHash(record)
  const root = await rootOf(leaf, proof.leaf_index, proof.tree_size, proof.inclusion_path.map(unhex))
  const { checkpoint } = proof
  return {
    leaf: proof.leaf_index === seq - 1 && hex(leaf) === proof.leaf_hash,
    root: root !== undefined && hex(root) === proof.root_hash,
    checkpoint: checkpoint.root_hash === proof.root_hash && checkpoint.tree_size === proof.tree_size,
  }
}
