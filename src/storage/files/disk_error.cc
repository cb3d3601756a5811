#include "storage/files/disk_error.h"

#include <cerrno>

namespace odradek::storage {

bool is_disk_full(const Error& error) { return error.os_error == ENOSPC || error.os_error == EDQUOT; }

bool is_disk_failure(const Error& error) {
  return error.os_error != 0 && error.os_error != EMFILE && error.os_error != ENFILE && error.os_error != ENOMEM && error.os_error != ENOENT &&
         !is_disk_full(error);
}

}  // namespace odradek::storage
