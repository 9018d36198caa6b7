// -mount: an application that stands at a URL prefix, without Alias, Directory or file. As mod_proxy does: the name is
// translated to the program, and the walk through the file system is left out, so that Location sections alone decide
// on access.
//
// Who wins where several claim a URL? mod_rewrite and mod_proxy come first (their rules are explicit, and have ways to
// exclude a URL). Then the longest prefix, of -mount and Alias together; -mount where both are the same. AliasMatch
// wins. Last come document roots and home folders. mod_alias does not say beforehand whether it will take a URL, hence
// the steps:
//
//   mount_find            before mod_alias: notes the longest mount
//   mount_translate       after mod_alias declined: takes the request
//   mount_map_to_storage  takes it from mod_alias where its prefix is not longer; ends the walk for what was taken
//   mount_check_type      no guesses from the program's name (mod_mime) or its folder (mod_negotiation)
#pragma once

#include <httpd.h>

#include <string_view>

#include "mod_cppfcgi/httpd/pool_settings.h"

namespace cppfcgi {

inline constexpr std::string_view handler_name = "fastcgi-script";

int mount_find(request_rec* request);
int mount_translate(request_rec* request);
int mount_map_to_storage(request_rec* request);
int mount_check_type(request_rec* request);

// The pool that this request belongs to: its mount's, or the one declared for r->filename. nullptr: there is none.
// r->filename is the program's path either way, and r->path_info what stands behind it: also where it is the name of an
// external application in folders that do not exist, at the first of which httpd has split them.
const PoolSettings* pool_of(request_rec* request);
bool is_mounted(const request_rec* request);

}  // namespace cppfcgi
