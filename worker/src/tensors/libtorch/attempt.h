// Nothing throws across the border to Rust: a failure's message is copied into `error` and the call returns false.

#pragma once

#include <cstddef>
#include <cstring>
#include <exception>

template <class Work>
bool attempt(char* error, size_t error_len, Work work) {
  try {
    work();
    return true;
  } catch (const std::exception& caught) {
    std::strncpy(error, caught.what(), error_len - 1);
    error[error_len - 1] = '\0';
    return false;
  }
}
