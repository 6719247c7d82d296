/* Words of the vectors' lines: data, numbers, answers. ../README.md says how they are written. */
#ifndef WORDS_H
#define WORDS_H

#include <clerver.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES = 64, PATTERN = 251 };

struct data {
    char *bytes; /* with a zero byte behind, so that it is a text too */
    size_t size;
};

static void *room(size_t size)
{
    void *memory = malloc(size);
    if (!memory)
        abort();
    return memory;
}

/* Bytes of the pattern from a place on. */
static void make_pattern(char *bytes, size_t size, size_t from)
{
    for (size_t at = 0; at < size; at++)
        bytes[at] = (char)((from + at) % PATTERN);
}

static struct data data_of(const char *word)
{
    struct data data = { NULL, 0 };
    if (strncmp(word, "bytes:", 6) == 0 || strncmp(word, "letters:", 8) == 0) {
        data.size = strtoul(strchr(word, ':') + 1, NULL, 10);
        data.bytes = room(data.size + 1);
        if (word[0] == 'b')
            make_pattern(data.bytes, data.size, 0);
        else
            memset(data.bytes, 'a', data.size);
    } else {
        data.bytes = room(strlen(word) + 1);
        for (; *word && strcmp(word, "-") != 0; word++) {
            char digits[3] = { 0 };
            if (*word == '%' && word[1] && word[2]) {
                memcpy(digits, word + 1, 2);
                data.bytes[data.size++] = (char)strtol(digits, NULL, 16);
                word += 2;
            } else {
                data.bytes[data.size++] = *word;
            }
        }
    }
    data.bytes[data.size] = 0;
    return data;
}

/* Writes bytes as one word: short ones as text, long ones by their length if they are known. */
static void put_data(FILE *out, const void *from, size_t size)
{
    const unsigned char *bytes = from;
    size_t at, in_pattern = 0, letters = 0;
    for (at = 0; at < size; at++) {
        in_pattern += bytes[at] == at % PATTERN;
        letters += bytes[at] == 'a';
    }
    if (size > SHOWN_BYTES) {
        const char *known = in_pattern == size ? "bytes" : letters == size ? "letters" : "other";
        fprintf(out, "%s:%lu", known, (unsigned long)size);
        return;
    }
    if (size == 0)
        fputc('-', out);
    for (at = 0; at < size; at++) {
        int plain = isalnum(bytes[at]) || strchr("._~", bytes[at]) || (bytes[at] == '-' && size > 1);
        fprintf(out, plain && bytes[at] ? "%c" : "%%%02X", bytes[at]);
    }
}

/* The code's name, which its text begins with. */
static void put_code(clv_status status)
{
    const char *text = clv_strerror(status);
    printf("%.*s", (int)strcspn(text, ":"), text);
}

/* Answers a status; true for success, whose line may go on. */
static int answered(clv_status status)
{
    if (status == CLV_OK) {
        printf("ok");
        return 1;
    }
    printf("error ");
    put_code(status);
    putchar(' ');
    for (const unsigned char *text = (const unsigned char *)clv_last_error(); *text; text++)
        printf(isalnum(*text) ? "%c" : "%%%02X", *text);
    return 0;
}

static int64_t number(const char *word, int64_t otherwise)
{
    return word ? strtoll(word, NULL, 10) : otherwise;
}

#endif
