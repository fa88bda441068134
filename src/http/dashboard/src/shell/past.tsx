// Says, on every page, that what is shown is over.
import { asOf } from '../live/moment'
import { travel } from './router'

export function PastBanner() {
  const moment = asOf.value
  if (moment === null) return null
  const words = /^\d+$/.test(moment) ? `after event ${moment}` : moment
  return (
    <div class="past-banner" role="status">
      <p><strong>This is the past</strong>, {words}. Nothing can be changed here.</p>
      <button type="button" onClick={() => travel(null)}>Return to the present</button>
    </div>
  )
}
