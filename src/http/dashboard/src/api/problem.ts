// Errors of the API. The client asks for RFC 9457, so all three documents answer in one shape; what
// comes in another (a proxy in between, no answer at all) is brought into it.

export type Problem = { status: number; code: string; message: string; hint: string; more: Record<string, unknown> }

/** What a request throws. `status` is 0 when nothing answered. */
export class ApiError extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.message)
    this.name = 'ApiError'
    this.problem = problem
  }

  get status(): number {
    return this.problem.status
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Reads the body of a refusal. */
export function problemOf(status: number, body: unknown): Problem {
  const more = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {}
  const standsFor = status === 0 ? 'The server does not answer.' : `The server answered ${status}.`
  return {
    status,
    code: text(more['code']).toLowerCase() || text(more['error']) || 'unknown',
    message: text(more['detail']) || text(more['message']) || text(more['error']) || standsFor,
    hint: text(more['hint']),
    more,
  }
}

/** What to say of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
  const { message, hint } = error.problem
  return hint ? `${message} ${hint.charAt(0).toUpperCase()}${hint.slice(1)}` : message
}

/** The field of a form that a refusal is about: the one that its first words name. */
export function fieldOf(error: unknown, fields: readonly string[]): string | undefined {
  if (!(error instanceof ApiError)) return undefined
  const { message } = error.problem
  const quoted = /^The field '([a-z_]+)/.exec(message)?.[1]
  const first = /^[a-z_]+/.exec(message)?.[0]
  return fields.find((field) => field === quoted || field === first)
}
