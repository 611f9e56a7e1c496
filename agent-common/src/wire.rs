//! Enumerations that cross the border between kernel and user space as plain integers.

/// Declares an enumeration whose wire form is an integer, with a checked way back.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$vmeta])* $variant = $value,)+
        }

        impl $name {
            /// Every value, in the order of the wire.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The integer that crosses the border.
            #[inline(always)]
            pub const fn wire(self) -> $repr {
                self as $repr
            }

            /// The value that an integer stands for, if it stands for one.
            pub const fn from_wire(value: $repr) -> Option<Self> {
                match value {
                    $($value => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// The word people see, the same in policy, events and output.
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(crate) use wire_enum;

/// A value that can be read back from the bytes a kernel program wrote.
pub trait Wire: Sized {
    /// Bytes it takes.
    const SIZE: usize;
    /// All bytes zero.
    const ZERO: Self;

    /// Reads it at an offset, if the bytes reach that far.
    fn read(bytes: &[u8], at: usize) -> Option<Self>;
}

macro_rules! wire_integers {
    ($($integer:ty),+) => {
        $(impl Wire for $integer {
            const SIZE: usize = size_of::<$integer>();
            const ZERO: Self = 0;

            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                Some(<$integer>::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
            }
        })+
    };
}

wire_integers!(u8, u16, u32, u64);

impl<T: Wire + Copy, const N: usize> Wire for [T; N] {
    const SIZE: usize = T::SIZE * N;
    const ZERO: Self = [T::ZERO; N];

    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let mut values = Self::ZERO;
        for (i, value) in values.iter_mut().enumerate() {
            *value = T::read(bytes, at + i * T::SIZE)?;
        }
        Some(values)
    }
}

/// Declares a structure that kernel programs write and user space reads.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(C)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)+
        }

        impl $crate::wire::Wire for $name {
            const SIZE: usize = size_of::<$name>();
            const ZERO: Self = Self {
                $($field: <$type as $crate::wire::Wire>::ZERO,)+
            };

            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                Some(Self {
                    $($field: <$type as $crate::wire::Wire>::read(
                        bytes,
                        at + core::mem::offset_of!($name, $field),
                    )?,)+
                })
            }
        }
    };
}

pub(crate) use wire_struct;

/// Fails the build when a shared structure is not laid out as the other side expects.
macro_rules! assert_layout {
    ($name:ty, size $size:literal $(, $field:ident at $offset:literal)* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
    };
}

pub(crate) use assert_layout;
