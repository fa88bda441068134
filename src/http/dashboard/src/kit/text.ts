// Text that comes from processes and other people.

// CSI and OSC sequences and two-character escapes, as ECMA-48 has them.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]/g
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g
/** What turns the direction of text around can make one word look like another. */
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g
const PICTURES = 0x2400
const DELETE = 0x7f

/** Without escape sequences; other control characters as their symbols. */
export function harmless(text: string): string {
  return text
    .replace(ESCAPES, '')
    .replace(CONTROLS, (found) => {
      const code = found.codePointAt(0) ?? 0
      if (code < 0x20) return String.fromCodePoint(PICTURES + code)
      return code === DELETE ? '␡' : '�'
    })
    .replace(TURNS, '�')
}
