// The proof of an event: fetched, and checked in this browser.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { address, ask, authorized, get } from '../../api/client'
import type { InclusionProof } from '../../api/types'
import { Badge } from '../../kit/badge'
import { Failed, Loading } from '../../kit/states'
import { asOf } from '../../live/moment'
import { type Verdict, check, isPossible } from './merkle'

type Checked = { proof: InclusionProof; verdict: Verdict | null }

const Line = ({ holds, children }: { holds: boolean; children: string }) => (
  <li><Badge state={holds ? 'success' : 'failed'} label={holds ? 'holds' : 'does not hold'} /> {children}</li>
)

export function Proof({ seq }: { seq: number }) {
  const checked = useSignal<Checked | null>(null)
  const error = useSignal<unknown>(undefined)
  const moment = asOf.value
  useEffect(() => {
    const stop = new AbortController()
    const read = async (): Promise<void> => {
      const proof = await get<InclusionProof>('/api/journal/proof', { query: { seq }, signal: stop.signal })
      const raw = await ask(address(`/api/events/${seq}`, { query: { raw: true } }), { headers: authorized(), signal: stop.signal })
      const bytes = new Uint8Array(await raw.arrayBuffer())
      checked.value = { proof, verdict: isPossible() ? await check(bytes, seq, proof) : null }
    }
    read().catch((refusal: unknown) => stop.signal.aborted || (error.value = refusal))
    return () => stop.abort()
  }, [seq, moment])
  if (error.value !== undefined) return <Failed error={error.value} />
  if (checked.value === null) return <Loading what="the proof" />
  const { proof, verdict } = checked.value
  const isWhole = verdict !== null && verdict.leaf && verdict.root && verdict.checkpoint
  return (
    <div class="proof">
      {verdict === null
        ? <p>This browser computes SHA-256 on https and localhost alone. <code>tenantry proof check</code> does it anywhere.</p>
        : (
          <>
            <p role="status"><Badge state={isWhole ? 'success' : 'failed'} label={isWhole ? 'verified here' : 'not verified'} /></p>
            <ul>
              <Line holds={verdict.leaf}>Its bytes have the hash of the leaf</Line>
              <Line holds={verdict.root}>{`Leaf and path lead to the root over ${proof.tree_size} events`}</Line>
              <Line holds={verdict.checkpoint}>The signed checkpoint speaks of that root</Line>
            </ul>
          </>
        )}
      <dl class="facts">
        <div><dt>Leaf {proof.leaf_index}</dt><dd><code>{proof.leaf_hash}</code></dd></div>
        <div><dt>Path</dt><dd>{proof.inclusion_path.length === 0 ? 'none' : proof.inclusion_path.map((one) => <code key={one}>{one}</code>)}</dd></div>
        <div><dt>Root</dt><dd><code>{proof.root_hash}</code></dd></div>
        <div><dt>Checkpoint</dt><dd><pre tabIndex={0} aria-label="Checkpoint">{proof.checkpoint.note}</pre></dd></div>
        <div><dt>Key</dt><dd><code>{proof.checkpoint.public_key}</code></dd></div>
      </dl>
    </div>
  )
}
