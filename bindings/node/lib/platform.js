// The name of this platform's directory below `prebuilds`, such as linux-x64 or linux-arm64-musl.
'use strict'

const isMusl = process.platform === 'linux' && !process.report?.getReport?.().header.glibcVersionRuntime

exports.platform = `${process.platform}-${process.arch}${isMusl ? '-musl' : ''}`
