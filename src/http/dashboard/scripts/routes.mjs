// Holds every path that the sources name against the OpenAPI document: the route, its method, and the names in the query. So a route
// or a parameter that is renamed there breaks the build here. (What is sent and answered is held by the types, see types.mjs.)
import fs from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'

const here = dirname(import.meta.dirname)
const { paths, components } = JSON.parse(fs.readFileSync(join(here, '../openapi/openapi.json'), 'utf8'))
const WRITES = new Set(['POST', 'PUT', 'DELETE'])

/** Routes by their paths, whatever their parameters are called. */
const routes = new Map(Object.entries(paths).map(([path, route]) => [path.replace(/\{[^}]*\}/g, '{}'), route]))

/** A literal that names a path, with `{}` where something is filled in; undefined for any other. */
function pathOf(node) {
  let text
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) text = node.text
  if (ts.isTemplateExpression(node)) text = node.head.text + node.templateSpans.map((span) => `{}${span.literal.text}`).join('')
  return text !== undefined && /^\/(api|ws)\//.test(text) ? text : undefined
}

/** The parameters of an operation's query, its own and those that all have. */
const parametersOf = (operation) => (operation.parameters ?? []).map((one) => (one.$ref ? components.parameters[one.$ref.split('/').at(-1)] : one))
  .flatMap((one) => (one.in === 'query' ? [one.name] : []))

/** The names of an object that is written there, or that a constant of the file is. */
function namesOf(node, file) {
  let found = node
  if (node && ts.isIdentifier(node)) {
    const look = (at) => (ts.isVariableDeclaration(at) && at.name.getText() === node.text ? at.initializer : ts.forEachChild(at, look))
    found = look(file)
  }
  if (!found || !ts.isObjectLiteralExpression(found)) return []
  return found.properties.flatMap((one) => (one.name && !ts.isComputedPropertyName(one.name) ? [one.name.getText()] : []))
}

/** What a call asks for besides its path. */
function queryOf(call, file) {
  const options = call.arguments.find(ts.isObjectLiteralExpression)
  const query = options?.properties.find((one) => one.name?.getText() === 'query')
  return query ? namesOf(ts.isShorthandPropertyAssignment(query) ? query.name : query.initializer, file) : []
}

function mistakeOf(node, file) {
  const text = pathOf(node)
  if (text === undefined) return undefined
  const [path, search = ''] = text.split('?')
  // A query that is made elsewhere stands behind the path.
  const route = routes.get(path) ?? routes.get(path.replace(/\{\}$/, ''))
  if (!route) return `there is no route ${path}`
  const call = ts.isCallExpression(node.parent) ? node.parent : undefined
  // What only names a path is no question yet.
  if (!call) return undefined
  const options = call.arguments.find(ts.isObjectLiteralExpression)
  const named = options?.properties.find((one) => one.name?.getText() === 'method')?.initializer
  const word = [...call.arguments, named].find((one) => one && ts.isStringLiteral(one) && WRITES.has(one.text))
  const method = word ? word.text.toLowerCase() : 'get'
  const operation = route[method]
  if (!operation) return `${path} does not answer ${method.toUpperCase()}`
  const known = new Set(parametersOf(operation))
  const asked = [...search.split('&').filter((part) => /^\w+=/.test(part)).map((part) => part.split('=')[0]), ...queryOf(call, file)]
  const wrong = asked.find((name) => !known.has(name))
  return wrong && `${method.toUpperCase()} ${path} has no parameter ${wrong}`
}

let [count, wrong] = [0, 0]
for (const name of fs.readdirSync(join(here, 'src'), { recursive: true })) {
  if (!/\.tsx?$/.test(name) || name.endsWith('.d.ts')) continue
  const path = join(here, 'src', name)
  const file = ts.createSourceFile(path, fs.readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  const look = (node) => {
    if (pathOf(node) !== undefined) count += 1
    const mistake = mistakeOf(node, file)
    if (mistake) {
      wrong += 1
      const { line } = file.getLineAndCharacterOfPosition(node.getStart())
      process.stderr.write(`${relative(here, path)}:${line + 1}: ${mistake}\n`)
    }
    ts.forEachChild(node, look)
  }
  look(file)
}
if (wrong > 0 || count === 0) {
  process.stderr.write(`${wrong} of ${count} paths are not as the API's description has them\n`)
  process.exit(1)
}
