// What a tenant's site looks like in some colours. Colours are set as properties, never as markup.
import type { Colors } from '../../api/types'
import { inkOn, rgb } from './contrast'

const known = (color: string): string => (rgb(color) === null ? 'transparent' : color)

export function Preview({ colors, name, logo, label }: { colors: Colors; name: string; logo?: string | undefined; label: string }) {
  const style = {
    '--p': known(colors.primary_color), '--p-ink': inkOn(colors.primary_color),
    '--s': known(colors.secondary_color), '--s-ink': inkOn(colors.secondary_color),
    '--a': known(colors.accent_color), '--a-ink': inkOn(colors.accent_color),
    '--t': known(colors.text_color), '--side': known(colors.sidebar_color),
  }
  // A picture of a site, not a part of this page: it has a name and nothing to read in it.
  return (
    <div class="preview" role="img" aria-label={label} style={style}>
      <div class="preview-bar">{logo === undefined ? <span>{name}</span> : <img src={logo} alt="" />}<span class="preview-dot" /></div>
      <div class="preview-body">
        <div class="preview-side"><i /><i /><i /></div>
        <div class="preview-main"><b>Text</b><i /><i /><i class="short" /><span class="preview-buttons"><u>Join</u><s>Events</s></span></div>
      </div>
    </div>
  )
}
