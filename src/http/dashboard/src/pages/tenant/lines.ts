// The level of a line that a process printed: its JSON or logfmt `level`, else its first word when that is one.

const LEVELS: Record<string, string> = {
  trace: 'debug', debug: 'debug', info: 'info', information: 'info', notice: 'info', warn: 'warn', warning: 'warn',
  error: 'error', err: 'error', fatal: 'critical', critical: 'critical', panic: 'critical',
}

const known = (word: string): string | undefined => LEVELS[word.toLowerCase()]

/** The level that a line names itself. */
export function declared(line: string): string | undefined {
  if (line.startsWith('{')) {
    const named = /"(?:level|severity)"\s*:\s*"([A-Za-z]+)"/.exec(line)?.[1]
    if (named !== undefined) return known(named) ?? 'info'
  }
  const field = /(?:^|\s)level="?([A-Za-z]+)/.exec(line)?.[1]
  if (field !== undefined) return known(field) ?? 'info'
  const first = /^[^A-Za-z]{0,2}([A-Za-z]+)/.exec(line)?.[1]
  return first === undefined ? undefined : known(first)
}

export const levelOf = (line: string): string => declared(line) ?? 'info'
