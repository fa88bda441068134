// The login. Whoever was sent here by an expired login comes back to the page that they were on.
import { login } from '../api/client'
import { begin, farewell } from '../api/session'
import { Field, FormMistake, focusMistake, useForm } from '../kit/form'

const needed = (what: string) => (value: string) => (value === '' ? `${what} is needed.` : undefined)

export function Login() {
  const form = useForm({ username: { check: needed('A user name') }, password: { check: needed('A password') } })
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const element = event.currentTarget as HTMLFormElement
    await form.submit(async () => {
      // A password may begin or end with a space.
      const { access_token: token, user } = await login(form.text('username'), form.fields.password.value.value)
      begin({ token, user })
    })
    focusMistake(element)
  }
  return (
    <main class="login">
      <form onSubmit={(event) => void submit(event)} noValidate aria-labelledby="login-title">
        <h1 id="login-title">Tenantry</h1>
        {farewell.value !== '' && <p class="form-note" role="status">{farewell.value}</p>}
        <Field field={form.fields.username} label="User name" autoComplete="username" focus />
        <Field field={form.fields.password} label="Password" type="password" autoComplete="current-password" />
        <FormMistake form={form} />
        <button type="submit" class="primary" disabled={form.isBusy.value}>Log in</button>
      </form>
    </main>
  )
}
