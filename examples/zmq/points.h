/* A message of points for a shard's stream door, written by hand: no msgpack library is needed.
 *
 * The header is the msgpack array ["points", source, epoch, sequence, count, [["", dim]]]; behind it
 * come the ids (uint64[count]) and the vectors (float[count][dim]), both little-endian.
 * edge/endpoints/PROTOCOL.md says all of it.
 */
#ifndef EDGESHARD_POINTS_H
#define EDGESHARD_POINTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define POINTS_HEADER_MAX 320 /* source names have at most 128 bytes */

static unsigned char *put_uint(unsigned char *at, uint64_t value)
{
    int bytes;
    if (value < 0x80) { /* small numbers are themselves */
        *at++ = (unsigned char)value;
        return at;
    }
    bytes = value > UINT32_MAX ? 8 : 4;
    *at++ = bytes == 8 ? 0xcf : 0xce; /* uint64, uint32: msgpack is big-endian */
    while (bytes--)
        *at++ = (unsigned char)(value >> (8 * bytes));
    return at;
}

static unsigned char *put_text(unsigned char *at, const char *text)
{
    size_t length = strlen(text);
    if (length < 32) {
        *at++ = (unsigned char)(0xa0 + length);
    } else { /* str8 */
        *at++ = 0xd9;
        *at++ = (unsigned char)length;
    }
    memcpy(at, text, length);
    return at + length;
}

/* Writes the header to `out`, which has room for POINTS_HEADER_MAX bytes; returns its length, or 0
 * where the source's name is empty or too long. */
static size_t points_header(unsigned char *out, const char *source, uint64_t epoch,
                            uint64_t sequence, uint32_t count, uint32_t dim)
{
    unsigned char *at = out;
    size_t length = strlen(source);
    if (length == 0 || length > 128)
        return 0;
    *at++ = 0x96; /* an array of six: what is left out behind has its default */
    at = put_text(at, "points");
    at = put_text(at, source);
    at = put_uint(at, epoch);
    at = put_uint(at, sequence);
    at = put_uint(at, count);
    *at++ = 0x91; /* one vector: */
    *at++ = 0x92; /* its name and its dimension */
    at = put_text(at, "");
    at = put_uint(at, dim);
    return (size_t)(at - out);
}

#endif
