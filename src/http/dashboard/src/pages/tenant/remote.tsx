// What the tenant's own application says of itself. It is asked when somebody looks, and again when they want it.
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { get, write } from '../../api/client'
import { messageOf } from '../../api/problem'
import type { PersonsCount, RemoteBackup, RemoteStats, Tenant } from '../../api/types'
import { WriteButton } from '../../kit/button'
import { Empty, Loading } from '../../kit/states'
import { say } from '../../kit/toast'
import { isPast } from '../../live/moment'

type Answer = { stats: RemoteStats; persons: PersonsCount }

const numbers = new Intl.NumberFormat()

/** In the order in which they came: counts of the application, which may have others of its own, and of persons by status. */
export function figuresOf({ stats, persons }: Answer): [name: string, value: string][] {
  const all: [string, unknown][] = [
    ...Object.entries(stats),
    ...Object.entries(persons.by_status ?? {}).map(([status, count]): [string, number] => [`${status} persons`, count]),
  ]
  return all.flatMap(([name, value]) => (typeof value === 'number' ? [[name.replaceAll('_', ' '), numbers.format(value)]] : []))
}

export function Remote({ tenant }: { tenant: Tenant }) {
  const answer = useSignal<Answer | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const asked = useSignal(0)
  const isRunning = tenant.status === 'running'
  const mayAsk = isRunning && !isPast.value
  useEffect(() => {
    answer.value = undefined
    error.value = undefined
    if (!mayAsk) return
    const stop = new AbortController()
    const { signal } = stop
    const both = Promise.all([
      get<RemoteStats>(`/api/tenants/${tenant.id}/remote/stats`, { now: true, signal }),
      get<PersonsCount>(`/api/tenants/${tenant.id}/remote/persons/count`, { now: true, signal }),
    ])
    both.then(
      ([stats, persons]) => (answer.value = { stats, persons }),
      (refusal: unknown) => signal.aborted || (error.value = refusal),
    )
    return () => stop.abort()
  }, [tenant.id, mayAsk, asked.value])
  const backUp = async (): Promise<void> => {
    const { body } = await write<RemoteBackup>('POST', `/api/tenants/${tenant.id}/remote/backup`)
    say(`Backed up to ${body.backup_path}.`)
  }
  return (
    <section class="panel" aria-labelledby="remote">
      <header>
        <h2 id="remote">Its own figures</h2>
        {mayAsk && (
          <div class="panel-end">
            <button type="button" onClick={() => (asked.value += 1)}>Ask again</button>
            <WriteButton act={backUp}>Back up</WriteButton>
          </div>
        )}
      </header>
      {isPast.value && <Empty title="The application does not tell of the past" />}
      {!isPast.value && !isRunning && <Empty title="The application does not run" />}
      {mayAsk && answer.value === undefined && error.value === undefined && <Loading what="what the application says" />}
      {error.value !== undefined && (
        <div class="empty" role="alert"><p class="empty-title">The application gave no figures</p><p>{messageOf(error.value)}</p></div>
      )}
      {answer.value && (
        <dl class="figures">
          {figuresOf(answer.value).map(([name, value]) => <div key={name}><dt>{name}</dt><dd class="number">{value}</dd></div>)}
        </dl>
      )}
    </section>
  )
}
