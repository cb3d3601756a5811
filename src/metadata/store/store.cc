#include "metadata/store/store.h"

#include <fmt/format.h>

#include "model/error_code.h"

namespace odradek::metadata {

std::string_view name_of(StoreError error) {
  switch (error) {
    case StoreError::kNone: return "NONE";
    case StoreError::kNoNode: return "NO_NODE";
    case StoreError::kNodeExists: return "NODE_EXISTS";
    case StoreError::kBadVersion: return "BAD_VERSION";
    case StoreError::kNotEmpty: return "NOT_EMPTY";
    case StoreError::kNoChildrenForEphemerals: return "NO_CHILDREN_FOR_EPHEMERALS";
    case StoreError::kInvalidArguments: return "INVALID_ARGUMENTS";
    case StoreError::kTooLarge: return "TOO_LARGE";
    case StoreError::kConnectionLoss: return "CONNECTION_LOSS";
    case StoreError::kSessionExpired: return "SESSION_EXPIRED";
    case StoreError::kClosed: return "CLOSED";
    case StoreError::kStorage: return "STORAGE";
  }
  return "UNKNOWN";
}

std::string_view name_of(SessionState state) {
  switch (state) {
    case SessionState::kConnecting: return "connecting";
    case SessionState::kConnected: return "connected";
    case SessionState::kExpired: return "expired";
    case SessionState::kClosed: return "closed";
  }
  return "unknown";
}

Error to_error(StoreError error, std::string_view doing_what) {
  ErrorCode code = ErrorCode::kUnknownServerError;
  switch (error) {
    case StoreError::kConnectionLoss:
    case StoreError::kSessionExpired:
    case StoreError::kClosed:
    case StoreError::kStorage: code = ErrorCode::kRequestTimedOut; break;
    case StoreError::kTooLarge: code = ErrorCode::kInvalidRequest; break;
    default: break;
  }
  std::string_view more = error == StoreError::kTooLarge ? " (a node of the metadata tree holds at most 1 MiB)" : "";
  return Error{code, fmt::format("metadata store: {}: {}{}", doing_what, name_of(error), more), 0};
}

bool is_legal_path(std::string_view path) {
  if (path.empty() || path[0] != '/') return false;
  if (path == "/") return true;
  size_t begin = 1;
  while (begin <= path.size()) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string_view element = path.substr(begin, end - begin);
    if (element.empty() || element == "." || element == "..") return false;
    for (char c : element) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
    }
    begin = end + 1;
  }
  return true;
}

std::string_view parent_of(std::string_view path) {
  if (path == "/") return {};
  size_t slash = path.rfind('/');
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

}  // namespace odradek::metadata
