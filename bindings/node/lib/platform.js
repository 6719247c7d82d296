// The name of this platform's directory below `prebuilds`, such as linux-x64 or linux-arm64-musl.
'use strict'

/** The report takes some milliseconds, so only who needs it asks. */
exports.platform = () => {
  const isMusl = process.platform === 'linux' && !process.report?.getReport?.().header.glibcVersionRuntime
  return `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`
}
