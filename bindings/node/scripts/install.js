// Runs after `npm install`: takes the prebuilt addon of this platform if there is one, else builds it with cargo.
//
//   node scripts/install.js              what npm runs; does nothing when there is an addon that loads
//   node scripts/install.js --build      builds in any case, to clerver.node
//   node scripts/install.js --prebuild   builds, to prebuilds/PLATFORM/clerver.node: the path that a package ships
'use strict'

const { execFileSync, spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const platform = require('../lib/platform.js').platform()

const here = path.join(__dirname, '..')
const workspace = path.join(here, '..', '..')
const built = path.join(here, 'clerver.node')
const prebuilt = path.join(here, 'prebuilds', platform, 'clerver.node')

/** Whether the addon loads in a process of its own. */
function loads(addon) {
  if (!fs.existsSync(addon)) return false
  const run = spawnSync(process.execPath, ['-e', 'require(process.argv[1]).version()', addon])
  return run.status === 0
}

function fail(message) {
  console.error(`clerver: ${message}`)
  process.exit(1)
}

/** Where cargo puts what it builds. */
function targetDirectory() {
  const text = execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps', '--locked'], {
    cwd: workspace, maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(text).target_directory
}

function build(to) {
  if (!fs.existsSync(path.join(here, 'Cargo.toml')) || !fs.existsSync(path.join(workspace, 'Cargo.toml'))) {
    fail(`there is no prebuilt addon for ${platform} in this package, and no source to build it from`)
  }
  if (spawnSync('cargo', ['--version']).status !== 0) {
    fail(`there is no prebuilt addon for ${platform}; building it needs Rust 1.88 or newer (https://rustup.rs), gcc, perl and make`)
  }
  // OpenSSL inside: node exports its own, to which a shared one would bind.
  const words = ['build', '--release', '--locked', '--features', 'vendored', '-p', 'clerver-node']
  console.error(`clerver: building the addon, which takes some minutes the first time: cargo ${words.join(' ')}`)
  const run = spawnSync('cargo', words, { cwd: workspace, stdio: 'inherit' })
  if (run.status !== 0) fail('cargo failed; the reason stands above')
  fs.mkdirSync(path.dirname(to), { recursive: true })
  // Beside it and then over it: a process may have the old one loaded.
  const extension = process.platform === 'darwin' ? 'dylib' : 'so'
  fs.copyFileSync(path.join(targetDirectory(), 'release', `libclerver_node.${extension}`), `${to}.new`)
  fs.renameSync(`${to}.new`, to)
  if (!loads(to)) fail(`${to} was built and cannot be loaded by ${process.execPath}`)
}

const wish = process.argv[2]
if (wish === '--prebuild') build(prebuilt)
else if (wish === '--build' || !(loads(prebuilt) || loads(built))) build(built)
