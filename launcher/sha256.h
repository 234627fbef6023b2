/* SHA-256 (FIPS 180-4). */
#pragma once

#include <stddef.h>

void sha256(const unsigned char *bytes, size_t length, unsigned char digest[32]);
