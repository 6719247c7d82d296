'use strict'

const assert = require('node:assert/strict')
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const ts = require('typescript')
const clerver = require('clerver')

const root = path.join(__dirname, '..')

/** Names that a declaration file declares: exports to the members of classes. */
function declared() {
  const file = path.join(root, 'index.d.ts')
  const program = ts.createProgram([file], { target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts'] })
  const source = program.getSourceFile(file)
  const classes = new Map()
  const values = new Set()
  const records = new Map()
  const name = (node) => node.name?.getText(source)
  for (const statement of source.statements) {
    if (ts.isClassDeclaration(statement)) classes.set(name(statement), statement.members)
    if (ts.isInterfaceDeclaration(statement)) records.set(name(statement), statement.members.map(name))
    if (ts.isTypeAliasDeclaration(statement)) records.set(name(statement), statement.type)
    if (ts.isVariableStatement(statement)) for (const one of statement.declarationList.declarations) values.add(name(one))
  }
  return { classes, values, records, source }
}

const { classes, values, records, source } = declared()
const members = (of, isStatic) => new Set(classes.get(of)
  .filter((member) => member.name && Boolean(member.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword)) === isStatic)
  .map((member) => member.name.getText(source).replace(/^\[Symbol\.(\w+)\]$/, '@$1')))
/** Without what only this package uses. */
const shown = (key) => (typeof key === 'symbol' ? `@${key.description.replace(/^(Symbol|nodejs)\./, '')}` : key)
const own = (object) => Reflect.ownKeys(object).map(shown).filter((key) => !/^(_|constructor$|prototype$|length$|name$|@dispose$)/.test(key))

test('every export is declared, and every declaration is there', () => {
  assert.deepEqual(Object.keys(clerver).sort(), [...classes.keys(), ...values].sort())
})

test('every member is declared, and every declaration is there', () => {
  for (const [name, Class] of Object.entries(clerver).filter(([, value]) => typeof value === 'function')) {
    // What constructors set is declared as readonly too.
    const text = Class.toString()
    const set = [...text.matchAll(/^    this\.([a-z]\w*) = /gm)].map(([, key]) => key)
    const found = new Set([...own(Class.prototype), ...set])
    const wanted = members(name, false)
    wanted.delete('name')
    found.delete('name')
    if (/Channel$|Call$/.test(name) && wanted.has('name')) wanted.delete('name')
    assert.deepEqual([...found].sort(), [...wanted].sort(), name)
    assert.deepEqual(own(Class).sort(), [...members(name, true)].sort(), `static members of ${name}`)
  }
})

const literals = (type) => type.types.map((one) => one.literal.text)

test('codes, classes and options are those of the library', () => {
  assert.deepEqual(literals(records.get('Code')), clerver.codes.map(({ code }) => code))
  assert.deepEqual(literals(records.get('ErrorClass')).sort(), [...new Set(clerver.codes.map((row) => row.class))].sort())
  const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
  const wanted = [...clerver.options.map(({ name }) => camel(name)), 'config', 'signal']
  assert.deepEqual([...records.get('NodeOptions')].sort(), wanted.sort())
})

test('events are those that the native half makes', () => {
  const rust = fs.readFileSync(path.join(root, 'src', 'event.rs'), 'utf8')
  const made = new Set([...rust.matchAll(/event\(\s*"(\w+)"/g)].map(([, name]) => name))
  made.add('callbackFailed')
  const names = (alias) => records.get(alias).types.map((one) => one.members[0].type.literal.text)
  assert.deepEqual([...new Set([...names('NodeEvent'), ...names('SessionEvent')])].sort(), [...made].sort())
})

test('tsc --strict takes the types, their uses and the examples', () => {
  const tsc = require.resolve('typescript/bin/tsc')
  const run = spawnSync(process.execPath, [tsc, '-p', path.join(__dirname, 'tsconfig.json')], { encoding: 'utf8' })
  assert.equal(run.stdout + run.stderr, '')
  assert.equal(run.status, 0)
})
